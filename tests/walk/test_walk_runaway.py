"""A template that runs away on one alert parks that alert's job; its neighbours are delivered meanwhile."""

from __future__ import annotations

from pathlib import Path

from stage import change_profile, parked, polled, staged

ENDLESS = (
    "{% if alert.name == 'endless' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
)
TITLE = 'title = "{{ alert.name }}"'


async def test_one_alert_on_which_a_template_runs_away_is_parked_and_says_so(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace(TITLE, f'title = "{ENDLESS}{{% endif %}}{{{{ alert.name }}}}"'))
        bad = stage.kuma.raise_alert(name="endless")
        good = [stage.kuma.raise_alert(name=f"alert {number}") for number in range(5)]

        async with stage.runtime() as runtime:
            await polled(runtime)
            jobs = await parked(runtime)

        titles = {stage.incident(alert_id).fields["title"] for alert_id in good}

    assert [job.subject for job in jobs] == [bad]
    assert "the template create.body.title failed" in str(jobs[0])
    assert "was cut off after 2 s" in str(jobs[0])
    assert titles == {f"alert {number}" for number in range(5)}
