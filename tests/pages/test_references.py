"""Every reference in code, tests and pages leads somewhere: pages to files, numbers and anchors to headings.

A page is cited by its path from the root of the repository, or from the folder of the page that cites it. A numbered
section is cited as ``docs/mathematics.md 2.3``: it stands on that page, or on one of the pages in the folder of the
page's name (``docs/mathematics/``). What does not resolve does not ship, and is found here.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("env", "towers", "agents", "experiments", "tests")
WRITTEN = {"report.md", "table.md", "benchmark.md"}
"""Files that commands write into a run's folder."""
PAGE = re.compile(r"(?<![\w./-])(?:[\w.-]+/)*[\w-]+\.md\b")
"""A mention of a page, with the folders before it."""
NUMBER = r"\d+(?:\.\d+)*"
NUMBERS = rf"{NUMBER}(?:(?:,| and|, and| to) {NUMBER})*"
CITED = re.compile(
    rf"(?P<page>(?:[\w.-]+/)*[\w-]+\.md)(?P<between>\s+(?:# )?|[,:;] ?|[ ,]*sections? )(?P<numbers>{NUMBERS})\b"
)
"""A page with numbers of sections behind it; ``between`` is white space where it is written as it should be."""
SECTION = re.compile(rf"\b[Ss]ections? (?P<numbers>{NUMBERS})\b")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """All Markdown pages that ship."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments" / "data").glob("*.md")])


def code() -> list[Path]:
    """All modules but this one, whose examples lead nowhere on purpose."""
    found = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    return [*sorted(path for path in found if path != Path(__file__)), ROOT / "Makefile", ROOT / "pyproject.toml"]


def headings(text: str) -> list[str]:
    """Headings of a page, without marks."""
    return re.findall(r"^#{1,6} +(.*?) *$", FENCE.sub("", text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: lower case, no punctuation, hyphens; the second of a kind ends in -1."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def numbered(page: Path) -> set[str]:
    """Numbers of the sections of a page, and of the pages in the folder of its name."""
    parts = [page, *sorted(page.with_suffix("").glob("*.md"))]
    return {match[1] for part in parts for h in headings(part.read_text()) if (match := re.match(rf"({NUMBER})\b", h))}


def resolve(mention: str, citing: Path) -> Path | None:
    """The page that is meant, by its path from the root or from the citing page's folder."""
    bases = [ROOT, citing.parent] if citing.suffix == ".md" else [ROOT]
    return next((base / mention for base in bases if (base / mention).is_file()), None)


def lost_pages(text: str, citing: Path) -> Iterator[str]:
    """Mentions of pages that there are none of."""
    # A path that is put together, (ROOT / "docs" / "log.md"), is one mention. Addresses elsewhere are none, nor are
    # links, which are looked at by themselves.
    whole = re.sub(r"https?://\S+", "", re.sub(r'"\s*/\s*"', "/", LINK.sub("", text)))
    for mention in PAGE.findall(whole):
        if Path(mention).name not in WRITTEN and resolve(mention, citing) is None:
            yield mention


def lost_sections(text: str, citing: Path) -> Iterator[str]:
    """Numbers of sections that no heading has, and references in another form."""
    for match in CITED.finditer(text):
        page = resolve(match["page"], citing)
        if page is None or not numbered(page):
            continue  # a lost page is found by itself; "report.md 3 times" is no reference
        if match["between"].strip(" \n#"):
            yield f"{match[0]!r}: write '{match['page']} {match['numbers']}'"
        yield from (f"{match['page']} {n}" for n in re.findall(NUMBER, match["numbers"]) if n not in numbered(page))


def lost_links(text: str, citing: Path) -> Iterator[str]:
    """Links to files that there are none of, or to anchors that no heading makes."""
    for match in LINK.finditer(FENCE.sub("", text)):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (citing.parent / name).resolve() if name else citing
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            yield target


def lost(text: str, citing: Path) -> list[str]:
    found = [*lost_pages(text, citing), *lost_sections(text, citing)]
    return found + list(lost_links(text, citing)) if citing.suffix == ".md" else found


@pytest.mark.parametrize("find", [pages, code])
def test_every_reference_leads_somewhere(find: object) -> None:
    assert callable(find)
    files = find()
    assert len(files) > 20
    found = {str(path.relative_to(ROOT)): lost(path.read_text(), path) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


def test_sections_of_the_mathematics_refer_to_each_other() -> None:
    """On its own pages, and in the glossary, a section is cited by its number alone."""
    own = numbered(ROOT / "docs" / "mathematics.md")
    assert len(own) > 50
    for page in [*(ROOT / "docs" / "mathematics").glob("*.md"), ROOT / "docs" / "mathematics.md"]:
        cited = {n for m in SECTION.finditer(page.read_text()) for n in re.findall(NUMBER, m["numbers"])}
        assert cited - own == set(), page
    contents = set(re.findall(rf"\[({NUMBER}) ", (ROOT / "docs" / "mathematics.md").read_text()))
    assert own - contents == {"1"}  # which stands above the contents


SHIPPED = ROOT / "docs" / "mathematics.md"
MODULE = ROOT / "agents" / "off_policy.py"


@pytest.mark.parametrize(
    ("text", "citing"),
    [
        *(
            (f"({name}.md, 2.3)", MODULE)
            for name in ("design", "algorithms", "world", "policy", "layout", "style", "fit")
        ),
        ("towers.md 2.6", MODULE),
        ("content-channel.md", SHIPPED),
        ("docs/mathematics.md 2.9", MODULE),
        ("docs/mathematics.md 2.1 and 11.3", MODULE),
        ("docs/mathematics.md\n    # 2.9", MODULE),
        ("docs/mathematics.md, 2.3", MODULE),
        ("docs/mathematics.md section 2.3", MODULE),
        ("mathematics.md 2.3", MODULE),
        ('(ROOT / "docs" / "world.md")', MODULE),
        ("[none](nowhere.md)", SHIPPED),
        ("[none](nowhere.png)", SHIPPED),
        ("![none](nowhere.png)", SHIPPED),
        ("[none](#nowhere)", SHIPPED),
        ("[none](mathematics/slates.md#nowhere)", SHIPPED),
    ],
)
def test_a_lost_reference_is_found(text: str, citing: Path) -> None:
    assert len(lost(text, citing)) >= 1


@pytest.mark.parametrize(
    ("text", "citing"),
    [
        ("docs/mathematics.md 2.3", MODULE),
        ("docs/mathematics.md 2.3, 3 and 10.2. Then", MODULE),
        ("docs/mathematics.md\n    2.3", MODULE),
        ("docs/mathematics.md. 2 more", MODULE),
        ('out / "report.md"', MODULE),
        ("https://github.com/somebody/something/blob/main/paper.md", MODULE),
        (
            "[here](#1-notation), [there](mathematics/slates.md#21-the-slate-policy), [far](https://example.org/a)",
            SHIPPED,
        ),
    ],
)
def test_a_reference_that_stands_is_let_through(text: str, citing: Path) -> None:
    assert lost(text, citing) == []
