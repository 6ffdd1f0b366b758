"""Text that came from data, in tables and terminals."""

from segmentation import markdown


def test_text_controls_neither_markdown_nor_a_terminal():
    text = 'a|b\n<script>*x*</script>\t\x1b[2J\u202e\x00é'
    assert markdown.escape(text) == (
        r'a\|b &lt;script&gt;\*x\*&lt;/script&gt; \\x1b\[2J\\u202e\\x00é'
    )
    assert markdown.printable('\x1b]0;title\x07 a_b.jpg \U000e0041') == (
        r'\x1b]0;title\x07 a_b.jpg \U000e0041'
    )
    assert '\x1b' not in markdown.table(('file',), [(text,)])
