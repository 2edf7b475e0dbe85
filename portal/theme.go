package portal

import (
	"fmt"
	"math"
	"strconv"

	"github.com/outhook/webhook"
)

type colour struct{ r, g, b float64 } // from 0 to 1

// themeOf returns the style sheet that makes a colour the accent, in both
// themes. For text it is moved towards black or white until it can be read: a
// contrast of 4.5 to 1 (WCAG 2.2, 1.4.3). Buttons are filled with it, as good as it
// is, and written on in white or black.
func themeOf(accent string) (string, error) {
	c, err := parseColour(accent)
	if err != nil {
		return "", err
	}
	white, black := colour{1, 1, 1}, colour{0, 0, 0}
	paper, night := colour{.945, .953, .965}, colour{.118, .137, .169} // the darkest and the lightest ground of each theme
	light := c.until(black, func(c colour) bool { return contrast(c, paper) >= 4.55 && contrast(c, white) >= 4.55 })
	dark := c.until(white, func(c colour) bool { return contrast(c, night) >= 4.55 })
	fill := func(c colour) string {
		on := colour{.059, .071, .086}
		if contrast(c, on) < 4.55 {
			on, c = white, c.until(black, func(c colour) bool { return contrast(c, white) >= 4.55 })
		} else if contrast(c, white) >= 4.55 {
			on = white
		}
		hover := c.mix(white, .15)
		if on == white {
			hover = c.mix(black, .15)
		}
		return fmt.Sprintf("--fill: %s; --fill-hover: %s; --on-fill: %s;", c, hover, on)
	}
	return fmt.Sprintf(`:root { --accent: %s; --accent-hover: %s; --accent-soft: %s; %s }
@media (prefers-color-scheme: dark) { :root { --accent: %s; --accent-hover: %s; --accent-soft: %s; %s } }
`, light, light.mix(black, .15), light.mix(white, .9), fill(c), dark, dark.mix(white, .25), dark.mix(night, .8), fill(c.until(white, visibleOn(night)))), nil
}

// visibleOn reports whether a button of a colour stands out from a ground: a
// contrast of 3 to 1 (WCAG 2.2, 1.4.11).
func visibleOn(ground colour) func(colour) bool {
	return func(c colour) bool { return contrast(c, ground) >= 3 }
}

func parseColour(s string) (colour, error) {
	n, err := strconv.ParseUint(s[min(1, len(s)):], 16, 32)
	if err != nil || len(s) != 7 || s[0] != '#' {
		return colour{}, fmt.Errorf("Accent: %w: %q is not of the form #rrggbb", webhook.ErrInvalid, s)
	}
	return colour{float64(n>>16) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, nil
}

// String writes the colour for CSS.
func (c colour) String() string {
	part := func(v float64) int { return int(math.Round(v * 255)) }
	return fmt.Sprintf("#%02x%02x%02x", part(c.r), part(c.g), part(c.b))
}

func (c colour) mix(o colour, share float64) colour {
	part := func(a, b float64) float64 { return a + (b-a)*share }
	return colour{part(c.r, o.r), part(c.g, o.g), part(c.b, o.b)}
}

// until moves the colour towards another in small steps, until it is good.
func (c colour) until(o colour, good func(colour) bool) colour {
	for share := 0.0; share < 1; share += .04 {
		if m := c.mix(o, share); good(m) {
			return m
		}
	}
	return o
}

// contrast is the ratio of WCAG 2.2.
func contrast(a, b colour) float64 {
	l, m := a.luminance(), b.luminance()
	return (math.Max(l, m) + .05) / (math.Min(l, m) + .05)
}

func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*linear(c.r) + .7152*linear(c.g) + .0722*linear(c.b)
}
