"""What changes while columns of a large report are loaded: they come when first needed."""

from tests.report_fixture.browsing import settle

# Columns that take a moment.
LATE = """
    window.late = (view, name) => {
        const column = view.column(name) ?? view.addColumn({
            name, role: 'metadata', kind: 'number', unit: '', description: '',
            values: new Float32Array(view.n),
        });
        let there = false;
        const load = () => new Promise((done) => setTimeout(() => done((there = true)), 60));
        return Object.assign(column, { load, isLoaded: () => there });
    };
    window.pause = (ms) => new Promise((done) => setTimeout(done, ms));
"""


def test_a_sort_that_is_chosen_while_a_view_is_loaded(open_page):
    page = open_page()
    page.evaluate(f'void (() => {{ {LATE} }})()')
    found = page.evaluate("""async () => {
        const next = await Data.load('val-400');
        Object.assign(late(State.view, 'new'), { isLoaded: () => true });
        const columns = ['loss', 'new'].map((name) => late(next, name));
        const shown = Views.show('val-400');
        await pause(10);
        State.setSort('new', true); // the view before has it
        await shown;
        return [State.view.name, State.sort.column, ...columns.map((one) => one.isLoaded())];
    }""")
    assert found == ['val-400', 'new', True, True]
    settle(page)


def test_a_sort_that_comes_after_another_view_is_dropped(open_page):
    page = open_page()
    page.evaluate(f'void (() => {{ {LATE} }})()')
    found = page.evaluate("""async () => {
        await Data.load('val-400');
        late(State.view, 'only here');
        State.setSort('only here', true);
        await Views.show('val-400');
        await pause(100);
        return State.sort.column;
    }""")
    assert found == 'loss'
    settle(page)


def test_a_part_that_fails_does_not_stop_the_others(open_page):
    page = open_page()
    page.evaluate("""() => {
        window.addEventListener('error', (event) => event.preventDefault());
        Events.on('similar', () => { throw new Error('broken'); });
        Events.on('similar', () => (window.called = true));
        Events.emit('similar');
    }""")
    settle(page)
    assert page.evaluate('window.called')
    assert 'broken' in page.text_content('#toast')
