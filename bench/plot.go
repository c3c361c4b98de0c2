package main

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"os"
	"regexp"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of a plot's lines and bars, told apart by those who see no red or green too (Okabe and Ito).
var colours = []color.Color{
	color.RGBA{0, 0, 0, 255}, color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
	color.RGBA{204, 121, 167, 255}, color.RGBA{230, 159, 0, 255},
}

// spread is a bar's value with its least and greatest, which gonum draws as a whisker.
type spread struct {
	plotter.XYs
	plotter.XErrors
}

// plotCosts draws a bar for what an answer costs each peer, in another colour for this project's.
func plotCosts(file string, list []*costs) error {
	p := newPlot("Server CPU time for each request over loopback (less is better)", "µs; the whisker goes from the best to the worst round", "")
	p.X.Min = 0
	var present []*costs
	for _, c := range slices.Backward(list) { // the first is to be on top
		if c.absent == nil {
			present = append(present, c)
		}
	}
	names := make([]string, len(present))
	var values [2]plotter.Values // those of others, and our own
	var whiskers spread
	var labels plotter.XYLabels
	for i, c := range present {
		cpu := median(c.cpu)
		names[i], values[0], values[1] = c.name, append(values[0], 0), append(values[1], 0)
		if c.ours {
			values[1][i] = cpu
		} else {
			values[0][i] = cpu
		}
		whiskers.XYs = append(whiskers.XYs, plotter.XY{X: cpu, Y: float64(i)})
		whiskers.XErrors = append(whiskers.XErrors, struct{ Low, High float64 }{cpu - slices.Min(c.cpu), slices.Max(c.cpu) - cpu})
		labels.XYs = append(labels.XYs, plotter.XY{X: slices.Max(c.cpu), Y: float64(i)})
		labels.Labels = append(labels.Labels, number(cpu))
		p.X.Max = max(p.X.Max, 1.1*slices.Max(c.cpu))
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	p.Add(grid)
	for i, colour := range []color.Color{color.Gray{150}, colours[1]} {
		bars, err := plotter.NewBarChart(values[i], vg.Points(14))
		if err != nil {
			return err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, colour, 0
		p.Add(bars)
	}
	lines, err := plotter.NewXErrorBars(whiskers)
	if err != nil {
		return err
	}
	figures, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	figures.Offset = vg.Point{X: vg.Points(5), Y: vg.Points(-3)}
	p.Add(lines, figures)
	p.NominalY(names...)
	return save(file, 22*vg.Centimeter, vg.Length(2.5+0.8*float64(len(present)))*vg.Centimeter, p)
}

// sans is the font of all text.
var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

// newPlot returns a plot that looks like the others.
func newPlot(title, x, y string) *plot.Plot {
	plot.DefaultFont, plotter.DefaultFont = sans, sans
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size = vg.Points(13)
	p.Title.Padding, p.X.Label.Padding, p.Y.Label.Padding = vg.Points(6), vg.Points(4), vg.Points(4)
	p.X.Padding, p.Y.Padding = 0, 0
	return p
}

// save writes plots, one above the other and on white, as an SVG that looks the same where the font is not: there another
// of the same widths is named, and each text says how wide it is.
func save(file string, width, height vg.Length, plots ...*plot.Plot) error {
	const margin = 8
	canvas := vgsvg.New(width, height)
	canvas.SetColor(color.White)
	var all vg.Path
	all.Move(vg.Point{})
	all.Line(vg.Point{X: width})
	all.Line(vg.Point{X: width, Y: height})
	all.Line(vg.Point{Y: height})
	all.Close()
	canvas.Fill(all)
	rows := make([][]*plot.Plot, len(plots))
	for i, p := range plots {
		rows[i] = []*plot.Plot{p}
	}
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadLeft: margin, PadRight: 2 * margin, PadTop: margin, PadBottom: margin, PadY: margin}
	for i, row := range plot.Align(rows, tiles, draw.New(canvas)) {
		plots[i].Draw(row[0])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	written := regexp.MustCompile(`(<text [^>]*)font-family:Liberation Sans;([^>]*font-size:([0-9.]+)px")>([^<]*)<`)
	return os.WriteFile(file, written.ReplaceAllFunc(svg.Bytes(), func(text []byte) []byte {
		part := written.FindSubmatch(text)
		size, err := strconv.ParseFloat(string(part[3]), 64)
		if err != nil {
			return text
		}
		face := font.DefaultCache.Lookup(sans, vg.Points(size))
		return fmt.Appendf(nil, `%sfont-family:Liberation Sans,Arial,Helvetica,sans-serif;%s textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s<`,
			part[1], part[2], face.Width(html.UnescapeString(string(part[4]))).Points(), part[4])
	}), 0o644)
}

// plotCurves draws the median latency of each responder as a line, and the 99th percentile as a broken one.
func plotCurves(file string, curves []*curve) error {
	p := newPlot("Latency of a cached answer, the server on one core (full line: median, broken line: 99th percentile)",
		"thousand requests/s", "µs, from when the request was due")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.X.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.Add(plotter.NewGrid())
	for i, c := range curves {
		for _, part := range []struct {
			values [][]float64
			dashes []vg.Length
		}{
			{c.median, nil},
			{c.p99, []vg.Length{vg.Points(4), vg.Points(3)}},
		} {
			points := make(plotter.XYs, len(c.loads))
			for j, rate := range c.loads {
				points[j] = plotter.XY{X: rate / 1000, Y: median(part.values[j])}
			}
			line, dots, err := plotter.NewLinePoints(points)
			if err != nil {
				return err
			}
			line.Color, line.Width, line.Dashes = colours[i%len(colours)], vg.Points(1.5), part.dashes
			dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, vg.Points(2)
			p.Add(line, dots)
			if part.dashes == nil {
				p.Legend.Add(c.name, line)
			}
		}
	}
	p.Y.Max *= 4 // room for the legend
	var ticks plot.ConstantTicks
	for at := 0.0; at <= p.X.Max; at += 10 {
		ticks = append(ticks, plot.Tick{Value: at, Label: number(at)})
	}
	p.X.Tick.Marker = ticks
	return save(file, 22*vg.Centimeter, 14*vg.Centimeter, p)
}

// plotSoak draws the heap over time, and the goroutines below it.
func plotSoak(file string, samples []soakSample) error {
	heap, goroutines := make(plotter.XYs, len(samples)), make(plotter.XYs, len(samples))
	for i, s := range samples {
		heap[i] = plotter.XY{X: s.At / 60, Y: s.Heap}
		goroutines[i] = plotter.XY{X: s.At / 60, Y: float64(s.Goroutines)}
	}
	above := newPlot("Mixed requests: heap in use after a garbage collection, and goroutines", "", "MiB")
	below := newPlot("", "minutes", "goroutines")
	for i, p := range []*plot.Plot{above, below} {
		line, err := plotter.NewLine([]plotter.XYs{heap, goroutines}[i])
		if err != nil {
			return err
		}
		line.Color, line.Width = colours[1+i], vg.Points(1.5)
		p.Add(plotter.NewGrid(), line)
		p.X.Min, p.Y.Min = 0, 0
		p.Y.Max *= 1.2
	}
	return save(file, 22*vg.Centimeter, 12*vg.Centimeter, above, below)
}
