"""`python -m deploy.dashboards` writes the dashboards' JSON (`make dashboards`)."""

from pathlib import Path

from deploy.dashboards import BOARDS
from deploy.dashboards.rendering import rendered

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"


def write(folder: Path) -> None:
    """Write every dashboard to a folder, and remove JSON that is none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{board.name}.json": rendered(board) for board in BOARDS}
    for path in set(folder.glob("*.json")) - set(files):
        path.unlink()
    for path, text in files.items():
        path.write_text(text)


if __name__ == "__main__":
    write(FOLDER)
