"""The pages of the console, a module each, listed in `web/console/app.py`.

A page is `async def name(request, console) -> Response`: it reads by `console.read`, and answers with
`console.page(request, "name.html", N_("Title"), values={…})`. `raise NotDone(…)` turns away.
Orders have one page for all of them (`orders.py`): GET asks, POST begins with `form = await console.received(request)`.
"""
