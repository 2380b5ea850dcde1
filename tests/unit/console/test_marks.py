"""What is at fault, marked."""

from imageflow.console.marks import marked, names


def test_the_value_at_fault():
    """A whole value, as it is or at the end of a URL; nothing else, and what strangers wrote stays text."""
    text = '{"file": "x.jpg", "url": "https://c.example/x.jpg", "n": 12, "<b>": "ax.jpg"}'
    found = marked(text, names("https://c.example/x.jpg?v=1"))
    assert found.count('class="hit"') == 2
    assert '<span class="hit">&#34;x.jpg&#34;</span>' in found
    assert "<b>" not in found
    assert '<span class="hit">12</span>' in marked(text, ["12"])
    assert "hit" not in marked(text, [])
    assert "hit" not in marked(text, [""])


def test_what_a_picture_is_called():
    """Its URL and the name of its file, without the query."""
    assert names("https://c.example/p/x.jpg?v=1") == ("https://c.example/p/x.jpg?v=1", "x.jpg")
    assert names("x.jpg") == ("x.jpg",)
