"""Writes what was measured: as text for the terminal, and into docs/benchmarks.md between its markers."""

from bench.figures import Row, Table

REACHED = {True: "yes", False: "no", None: ""}


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def summary(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        lines.append([str(row.number), f"**{row.title}**", "", "", "failed" if row.failure else ""])
        lines += [["", f.what, f.target, f.measured, REACHED[f.reached]] for f in row.figures]
    return markdown_table(["", "what", "to reach", "measured", "reached"], lines)


def details(rows: list[Row]) -> str:
    parts = []
    for row in rows:
        parts.append(f"### {row.number}. {row.title}\n")
        if row.failure:
            parts.append(f"Not measured: {row.failure}\n")
        for table in row.tables:
            parts.append(f"{table.title}:\n")
            parts.append(markdown_table(table.header, table.rows))
        parts += [note + "\n" for note in row.notes]
    return "\n".join(parts)


def count_reached(rows: list[Row]) -> str:
    judged = [f.reached for row in rows for f in row.figures if f.reached is not None]
    failed = sum(1 for row in rows if row.failure)
    text = f"{sum(judged)} of {len(judged)} figures reached"
    return text + (f", {failed} rows failed" if failed else "")


def aligned(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in [header, *rows]
    )


def print_row(row: Row) -> None:
    print(f"\n{row.number}. {row.title}  [{row.seconds:.0f} s]", flush=True)
    if row.failure:
        print(f"  FAILED: {row.failure}", flush=True)
    lines = [[f.what, f.target, f.measured, REACHED[f.reached]] for f in row.figures]
    tables = [Table("", ["", "to reach", "measured", "reached"], lines)] if lines else []
    for table in tables + row.tables:
        if table.title:
            print(f"  {table.title}:")
        print("    " + aligned(table.header, table.rows).replace("\n", "\n    "), flush=True)


def replace_between_markers(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise RuntimeError(f"docs/benchmarks.md has no markers '{begin}' and '{end}'")
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"


def write_document(path: str, rows: list[Row], run_facts: list[str]) -> None:
    with open(path) as file:
        text = file.read()
    facts = "\n".join(f"- {fact}" for fact in run_facts)
    text = replace_between_markers(text, "run", facts)
    text = replace_between_markers(text, "figures", count_reached(rows) + ".\n\n" + summary(rows))
    text = replace_between_markers(text, "details", details(rows))
    with open(path, "w") as file:
        file.write(text)
