"""What an operator sees of an update in Temporal's web UI, looked at with a real browser."""

from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Page, async_playwright, expect

from taskroll.models.decision import DecisionInput
from taskroll.models.provenance import GitProvenance
from tests.saga.sources import library
from tests.saga.test_approval import ASKING
from tests.saga.world import World
from workflows.search_attributes import COMMIT, DEFINITIONS, NAMESPACE, PHASE, REQUESTED_BY

from .chromium import find_chromium

COMMITTED = GitProvenance(commit="4f2a" * 10, dirty=False)
SCREENSHOTS = Path("build/screenshots")

# Chromium looks up its own services at each start unless it is told not to.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page() -> AsyncGenerator[Page]:
    browser_path = find_chromium()
    if browser_path is None:
        pytest.skip("no Chromium on this machine: install it, or name one by TASKROLL_CHROMIUM_BIN")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=QUIET)
        yield await browser.new_page(viewport={"width": 1500, "height": 1100})
        await browser.close()


async def test_summary_details_and_search_attributes_are_shown(world: World, page: Page) -> None:
    await world.update(library(1))
    request_id = await world.submit(library(2), policy=ASKING, reason="sharper sketches", git=COMMITTED)
    view = await world.in_phase(request_id, "awaiting-approval")
    run_id = (await world.handle(request_id).describe()).run_id
    await page.goto(
        f"{world.stack.ui_url}/namespaces/default/workflows/{quote(view.workflow_id, safe='')}/{run_id}",
        wait_until="domcontentloaded",
    )
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    body = page.locator("body")
    await page.get_by_role("tab", name="User Metadata").click()
    # The UI renders Markdown in frames of their own: summary, details, current details.
    summary, details, current = (page.frame_locator("iframe").nth(number).locator("body") for number in range(3))
    await expect(summary).to_contain_text("sharper sketches", timeout=20_000)
    await expect(details).to_contain_text("encoder-task")
    for shown in ("awaiting-approval", f"taskroll approve {request_id}", "gateway × 2, dispatcher × 3"):
        await expect(current).to_contain_text(shown)
    await page.screenshot(path=SCREENSHOTS / "summary-and-current-details.png")
    await page.get_by_role("tab", name="Search Attributes").click()
    for attribute in (PHASE, DEFINITIONS, REQUESTED_BY, COMMIT, NAMESPACE):
        await expect(body).to_contain_text(attribute.name, timeout=20_000)
    await expect(body).to_contain_text("encoder-task")
    await page.screenshot(path=SCREENSHOTS / "search-attributes.png")
    await world.client.decide(request_id, DecisionInput(decision="approved", by="anna", reason="looks right"))
    assert (await world.ended(request_id)).status.outcome == "completed"
    await page.get_by_role("tab", name="History").click()
    for summary in ("lower the fence, seal the record", "Completed"):
        await expect(body).to_contain_text(summary, timeout=20_000)
    await page.screenshot(path=SCREENSHOTS / "history.png", full_page=True)
