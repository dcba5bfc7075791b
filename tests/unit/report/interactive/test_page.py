import json
import re

from parsl_optuna.report.interactive import page
from parsl_optuna.report.interactive.content import Content

CONTENT = Content("a </script><b>", "all done", False, ["x < y"], [{"name": "loss", "maximise": False}], [])


def test_text_of_users_is_never_markup(tmp_path):
    page.write(CONTENT, tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1)
    assert json.loads(data)["title"] == CONTENT.title
    assert "<title>a &lt;/script&gt;&lt;b&gt;</title>" in text


def test_the_page_needs_no_network(tmp_path):
    page.write(CONTENT, tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=[\"']?https?:", text)
    assert "Plotly" in text
