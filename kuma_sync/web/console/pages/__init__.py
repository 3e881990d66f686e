"""The pages of the console, a module each, listed in `web/console/app.py`.

A page is `async def name(request, console) -> Response`: it reads by `console.store.read`, and answers with
`console.page(request, "name.html", N_("Title"), values={…})`. An order has two: GET asks by `console.confirm(…)`, POST
begins with `form = await console.received(request)`, does the order as `form.by` in one transaction that calls
`form.spend(tx)`, and ends with a redirect. Both have `role=Role.OPERATOR` in the list. `raise NotDone(…)` turns away.
"""
