"""Opens the page of a report in a browser."""


def open_report(context, folder, fragment, wrong):
    """Opens a report in a browser, when everything in it has been loaded.

    Args:
      context: of Playwright.
      folder: of the report.
      fragment: of its address.
      wrong: list that gets what is said on the console, and requests outside of the report.
    """
    page = context.new_page()
    page.on('console', lambda message: wrong.append(message.text))
    page.on('pageerror', lambda error: wrong.append(str(error)))
    inside = (folder.as_uri(), 'data:', 'blob:')
    page.on('request', lambda request: request.url.startswith(inside) or wrong.append(request.url))
    page.goto(f'{folder.as_uri()}/index.html#{fragment}')
    page.wait_for_selector('body[data-loaded]')
    settle(page)
    return page


def settle(page):
    """Waits until data are loaded and what was emitted is drawn: handlers run in the next frame."""
    page.evaluate("""new Promise((done) => {
        const look = () =>
            document.querySelector('[aria-busy=true]')
                ? setTimeout(look, 10)
                : requestAnimationFrame(() => requestAnimationFrame(done));
        look();
    })""")
