"""Renders chats.json's templates with Python's Jinja 3.1.6, set up as transformers does, into `expected`."""
import datetime
import json
import pathlib

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

path = pathlib.Path(__file__).parent / "chats.json"
environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, separators=None, sort_keys=False: (
    json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys))
environment.globals["strftime_now"] = lambda form: datetime.datetime(2024, 7, 26, 13, 5, 9).strftime(form)
chats = json.loads(path.read_text(encoding="utf-8"))
for chat in chats:
    chat["expected"] = environment.from_string(chat["template"]).render(**chat["variables"])
path.write_text(json.dumps(chats, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
