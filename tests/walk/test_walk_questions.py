from __future__ import annotations
from datetime import timedelta
from pathlib import Path
import httpx, asyncio
from console_stage import PASSWORD, Visitor, hash_of, text_of
from forked import ended
from stage import eventually, staged
from kuma_sync.sync.limits import Limits

async def test_x(tmp_path: Path, sqlite_url: str) -> None:
    token = tmp_path / "kuma-token"; token.write_text("kuma-token\n"); token.chmod(0o600)
    web = {"console": {"enabled": True, "users": {"anna": hash_of(PASSWORD)}}}
    async with staged(tmp_path, sqlite_url, web=web, poll={"max_alert_size": "64KB"}) as stage:
        del stage.tables["kuma"]["token"]
        stage.tables["route"] = [{"names": ["^Test"], "target": "ignore"}]
        stage.configure(kuma={"token_file": str(token)})
        stage.irp.knobs.reject_titles = "R077"
        async with stage.door(limits=Limits(activity_noted=timedelta(milliseconds=200))) as door:
            base = str(door.base_url)
            k = stage.kuma
            X = k.raise_alert(id="5f0c2a3e-0000-4000-8000-000000000000")
            P = k.raise_alert(id="5f0c2a3e-0000-4000-8000-000000000001", name="R077. Malware found and not removed")
            L = k.raise_alert(id="5f0c2a3e-0000-4000-8000-000000000002", events=60)
            T = k.raise_alert(id="5f0c2a3e-0000-4000-8000-000000000003", name="Test of the correlator")
            await eventually(lambda: stage.incidents(X) and stage.incidents(L))
            stage.irp.analyst_close(stage.incident(X).id, "False positive")
            await eventually(lambda: k.alerts[X]["status"] == "closed")
            async with httpx.AsyncClient(base_url=base, headers={"Accept": "text/html"}, trust_env=False, timeout=20) as c:
                v = Visitor(c)
                await v.signs_in()
                async def show(path, *cmd):
                    print("=== ", path); print(text_of(await v.sees(path)))
                    code, out, err = await ended(*cmd, "-c", str(stage.config)); print("---", cmd, code); print(out, err)
                await asyncio.sleep(2)
                await show("/", "status")
                await show("/waiting", "alerts", "--state", "parked")
                await show(f"/alerts/{X}", "show", X)
                await show("/configuration", "config", "check")
                await show(f"/alerts/{L}", "show", L)
                await show(f"/alerts/{T}", "show", T)
                await show("/passes", "compare")
                await show("/orders/pause?part=irp", "pause", "irp", "--for", "2h")
                await show("/", "status")
                await show("/", "resume", "irp")
                k.token = "renewed"
                await asyncio.sleep(2)
                await show("/", "status")
                await show("/", "check")
    assert 0
