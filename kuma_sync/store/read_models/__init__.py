"""The store as people see it: the rows that commands, `--json` and the console show. Nothing here changes anything.

`overview` is what there is, `waiting` what waits for a human, `story` one alert with its history, `search` the alerts
by filters and page by page, `activity` what happened in the last hours.
"""
