"""Every page of the console: its name, and its address in a scene."""

from __future__ import annotations

from collections.abc import Callable

from scene import Scene

PAGES: dict[str, Callable[[Scene], str]] = {
    "overview": lambda _: "/",
    "alerts": lambda _: "/alerts",
    "alerts-found": lambda _: "/alerts?q=brute&state=held&sort=name",
    "alert": lambda here: f"/alerts/{here.one('delivered')}",
    "alert-parked": lambda here: f"/alerts/{here.ids['parked'][0]}",
    "alert-waiting": lambda here: f"/alerts/{here.one('waiting')}",
    "alert-held": lambda here: f"/alerts/{here.one('held create')}",
    "alert-closed": lambda here: f"/alerts/{here.one('closed')}",
    "alert-events": lambda here: f"/alerts/{here.one('parked')}?show=events",
    "alert-requests": lambda here: f"/alerts/{here.one('parked')}?show=requests",
    "alert-live": lambda here: f"/alerts/{here.one('hostile')}?show=live",
    "hostile": lambda here: f"/alerts/{here.ids['parked'][2]}",
    "waiting": lambda _: "/waiting",
    "closings": lambda _: "/closings",
    "passes": lambda _: "/passes",
    "configuration": lambda _: "/configuration",
}

QUESTIONS: dict[str, Callable[[Scene], str]] = {
    "order-retry": lambda _: "/orders/retry?all=1&back=/waiting",
    "order-drop": lambda here: f"/orders/drop?alert={here.one('parked')}&back=/waiting",
    "order-release": lambda _: "/orders/release?all=1&back=/waiting",
    "order-resync": lambda here: f"/orders/resync?alert={here.one('delivered')}",
    "order-resync-all": lambda _: "/orders/resync?all=1&since=24h&back=/alerts",
    "order-close": lambda here: f"/orders/close?alert={here.one('delivered')}",
    "order-pause": lambda _: "/orders/pause?part=kuma",
}
"""The pages that ask before an order."""
