//! A plot as an SVG file, readable on light and on dark pages.
//!
//! Both axes are logarithmic: equal steps are equal factors, so that 1 and 1,024 clients, and targets that are ten times apart, are
//! readable in one picture. Lines carry their names at their right end, points their spread as a bar.
//!
//! The file stands alone: no script, no font, no colour of its page. Colours follow the reader's preference by a media query;
//! viewers that know none show the light ones. Every line is named, so that nobody depends on telling colours apart.
//!
//! What it does not do: interaction, other kinds of plots.

mod axis;
mod labels;

use std::fmt::Write;

use axis::Axis;

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// What is counted along the horizontal axis.
    pub(crate) axis: String,
    pub(crate) lines: Vec<Line>,
}

/// One line of it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) hue: usize,
    pub(crate) marks: Vec<Mark>,
}

/// One point, with its spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) x: u32,
    pub(crate) y: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
/// The names of the lines stand to the right of this.
const RIGHT: f64 = 600.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 408.0;

/// Half of a spread bar's caps.
const CAP: f64 = 3.5;

/// Light and dark, by hue.
const HUES: [(&str, &str); 5] = [
    ("#0072b2", "#56b4e9"),
    ("#7a4fa3", "#c3a1e6"),
    ("#00805c", "#2fcf9f"),
    ("#c44e00", "#ff9a4d"),
    ("#5f6b7a", "#a9b4c2"),
];

impl Plot {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let marks = || self.lines.iter().flat_map(|line| &line.marks);
        let across = Axis::of_counts(marks().map(|mark| mark.x), LEFT + 24.0, RIGHT - 24.0);
        let up = Axis::of_rates(marks().flat_map(|mark| [mark.least, mark.most]), BOTTOM, TOP);
        let mut text = self.head();
        for (value, label) in up.ticks() {
            let y = up.place(*value);
            put(
                &mut text,
                &format!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>"),
            );
            put(
                &mut text,
                &format!(
                    "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                    LEFT - 8.0,
                    y + 4.0
                ),
            );
        }
        for (value, label) in across.ticks() {
            let x = across.place(*value);
            put(
                &mut text,
                &format!(
                    "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{BOTTOM}\" x2=\"{x:.1}\" y2=\"{}\"/>",
                    BOTTOM + 5.0
                ),
            );
            put(
                &mut text,
                &format!(
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                    BOTTOM + 20.0
                ),
            );
        }
        let middle = f64::midpoint(LEFT, RIGHT);
        let axis = escape(&self.axis);
        put(
            &mut text,
            &format!(
                "<text class=\"tick\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{axis}</text>",
                BOTTOM + 40.0
            ),
        );
        for line in &self.lines {
            draw(&mut text, line, &across, &up);
        }
        self.names(&mut text, &across, &up);
        text + "</svg>\n"
    }

    fn head(&self) -> String {
        let (title, subtitle) = (escape(&self.title), escape(&self.subtitle));
        let mut light = String::new();
        let mut dark = String::new();
        for (hue, (by_day, by_night)) in HUES.iter().enumerate() {
            for (css, colour) in [(&mut light, by_day), (&mut dark, by_night)] {
                // Writing to a String cannot fail.
                let _ = write!(css, ".l{hue}{{stroke:{colour}}}.f{hue}{{fill:{colour}}}");
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
             <title>{title}</title>\n\
             <style>\n\
             text{{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}}\n\
             .paper{{fill:#ffffff}}.title{{fill:#1f2328;font-size:17px;font-weight:600}}.tick{{fill:#59636e}}.grid{{stroke:#d8dee4}}\n\
             .line{{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}}.bar{{stroke-width:1.4;opacity:.7}}.lead{{stroke-width:1;opacity:.5}}.name{{font-weight:600}}\n\
             {light}\n\
             @media (prefers-color-scheme:dark){{\n\
             .paper{{fill:#0d1117}}.title{{fill:#e6edf3}}.tick{{fill:#9198a1}}.grid{{stroke:#2b323b}}\n\
             {dark}\n\
             }}\n\
             </style>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"20\" y=\"30\">{title}</text>\n\
             <text class=\"tick\" x=\"20\" y=\"50\">{subtitle}</text>\n"
        )
    }

    /// The names at the right, moved apart where lines end close to each other.
    fn names(&self, text: &mut String, across: &Axis, up: &Axis) {
        let ends: Vec<(f64, f64)> = self
            .lines
            .iter()
            .filter_map(|line| line.marks.last())
            .map(|mark| (across.place(f64::from(mark.x)), up.place(mark.y)))
            .collect();
        let wanted: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
        let places = labels::apart(&wanted, TOP, BOTTOM);
        let named = self.lines.iter().filter(|line| !line.marks.is_empty());
        for ((line, (x, y)), place) in named.zip(ends).zip(places) {
            let (hue, label) = (line.hue % HUES.len(), escape(&line.label));
            let (from, to) = (x + 6.0, RIGHT + 8.0);
            put(
                text,
                &format!(
                    "<line class=\"lead l{hue}\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{place:.1}\"/>"
                ),
            );
            put(
                text,
                &format!(
                    "<text class=\"name f{hue}\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                    to + 4.0,
                    place + 4.0
                ),
            );
        }
    }
}

fn draw(text: &mut String, line: &Line, across: &Axis, up: &Axis) {
    let hue = line.hue % HUES.len();
    let points: Vec<(f64, f64)> =
        line.marks.iter().map(|mark| (across.place(f64::from(mark.x)), up.place(mark.y))).collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(text, &format!("<polyline class=\"line l{hue}\" points=\"{}\"/>", path.join(" ")));
    for (mark, (x, y)) in line.marks.iter().zip(points) {
        let (low, high) = (up.place(mark.least), up.place(mark.most));
        if low - high >= 1.0 {
            let (from, to) = (x - CAP, x + CAP);
            put(
                text,
                &format!(
                    "<path class=\"bar l{hue}\" d=\"M{x:.1} {low:.1}V{high:.1}M{from:.1} {low:.1}H{to:.1}M{from:.1} {high:.1}H{to:.1}\"/>"
                ),
            );
        }
        put(text, &format!("<circle class=\"f{hue}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"));
    }
}

fn put(text: &mut String, element: &str) {
    text.push_str(element);
    text.push('\n');
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Plot {
        let mark = |x, y: f64| Mark { x, y, least: y * 0.9, most: y * 1.1 };
        Plot {
            title: "Puts & gets".to_owned(),
            subtitle: "operations per second".to_owned(),
            axis: "clients".to_owned(),
            lines: vec![
                Line { label: "a<b".to_owned(), hue: 0, marks: vec![mark(1, 100.0), mark(1024, 10_000.0)] },
                Line { label: "etcd".to_owned(), hue: 3, marks: vec![mark(1, 50.0), mark(1024, 10_000.0)] },
            ],
        }
    }

    /// The elements behind the head, which is colours and words.
    const EXPECTED: &str = r#"<line class="grid" x1="64" y1="408.0" x2="600" y2="408.0"/>
<text class="tick" x="56" y="412.0" text-anchor="end">20</text>
<line class="grid" x1="64" y1="363.4" x2="600" y2="363.4"/>
<text class="tick" x="56" y="367.4" text-anchor="end">50</text>
"#;

    #[test]
    fn the_file_is_as_expected() {
        let svg = sample().svg();
        let (head, body) = svg.split_once("</style>\n").unwrap();
        assert!(head.contains("prefers-color-scheme:dark"));
        let at = body.find("<line").unwrap();
        assert_eq!(&body[at..at + EXPECTED.len()], EXPECTED);
        assert!(svg.contains("<title>Puts &amp; gets</title>"));
        assert!(svg.contains(">a&lt;b</text>"));
    }

    #[test]
    fn every_point_has_a_bar_and_names_do_not_overlap() {
        let svg = sample().svg();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches("class=\"bar").count(), 4);
        let names: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("class=\"name"))
            .map(|line| line.split(" y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!((names[0] - names[1]).abs() >= labels::LINE, "{names:?}");
    }

    #[test]
    fn a_plot_of_nothing_is_still_a_picture() {
        let svg = Plot { lines: Vec::new(), ..sample() }.svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
