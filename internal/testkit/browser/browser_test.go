package browser_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/browser"
)

// What is wrong with a page is seen, so that a page of which nothing is said has none of it.
func TestWhatIsWrongIsSeen(t *testing.T) {
	v := browser.Look(t, `<title>bad</title><style>p { background: url(http://pictures.example/p.png) }</style><p style="width: 900px">wide</p>
		<img src="http://pictures.example/x.png"><i style="display: inline-block; width: 0"></i><a href="#here">within</a><p hidden>unseen</p>
		<script>console.error("complaint")</script>`, 390)
	require.Equal(t, "bad", v.Title)
	require.Equal(t, 908, v.Width)
	require.Equal(t, []string{"img http://pictures.example/x.png", "url(http://pictures.example/p.png)"}, v.Outside)
	require.Contains(t, v.Fetched, "http://pictures.example/x.png")
	require.Equal(t, []string{"bar"}, v.Empty)
	require.Contains(t, v.Text, "wide")
	require.NotContains(t, v.Text, "unseen")
	require.NotEmpty(t, v.Console)
}
