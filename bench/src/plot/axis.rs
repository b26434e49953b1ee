//! A logarithmic axis: where values stand, and which are named.

/// From the first place to the last, in equal steps for equal factors.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Every count that occurs is named.
    pub(super) fn of_counts(values: impl Iterator<Item = u32>, from: f64, to: f64) -> Self {
        let mut values: Vec<u32> = values.collect();
        values.sort_unstable();
        values.dedup();
        let ticks: Vec<(f64, String)> =
            values.iter().map(|value| (f64::from(*value), short(f64::from(*value)))).collect();
        let least = values.first().map_or(1.0, |value| f64::from(*value));
        let most = values.last().map_or(1.0, |value| f64::from(*value));
        Self { least, most, from, to, ticks }
    }

    /// From the last round number below all values to the first above them; 1, 2 and 5 times powers of ten are named.
    pub(super) fn of_rates(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(0.0, f64::max);
        let (smallest, greatest) = if values.is_empty() { (1.0, 10.0) } else { (smallest, greatest) };
        let round: Vec<f64> =
            (-3..12).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power))).collect();
        let least = round.iter().copied().rfind(|it| *it <= smallest).unwrap_or(smallest);
        let most = round.iter().copied().find(|it| *it >= greatest && *it > least).unwrap_or(greatest);
        let ticks = round.into_iter().filter(|it| (least..=most).contains(it)).map(|it| (it, short(it)));
        Self { least, most, from, to, ticks: ticks.collect() }
    }

    /// Where a value stands. An axis of one value has it in the middle.
    pub(super) fn place(&self, value: f64) -> f64 {
        let span = (self.most / self.least).ln();
        if span <= 0.0 {
            return f64::midpoint(self.from, self.to);
        }
        let part = (value.max(self.least) / self.least).ln() / span;
        self.from + part * (self.to - self.from)
    }

    /// What is named.
    pub(super) fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }
}

/// `50`, `1,024`, `20K`, `1M`: without what a tick does not need.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        _ if value >= 1000.0 && value % 1000.0 == 0.0 => format!("{}K", value / 1e3),
        _ if value >= 1000.0 => format!("{:.0},{:03.0}", (value / 1000.0).floor(), value % 1000.0),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_steps() {
        let axis = Axis::of_counts([1024, 1, 32, 1].into_iter(), 100.0, 300.0);
        assert_eq!([1.0, 32.0, 1024.0].map(|value| axis.place(value).round()), [100.0, 200.0, 300.0]);
        let named: Vec<&str> = axis.ticks().iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(named, ["1", "32", "1,024"]);
    }

    #[test]
    fn rates_stand_between_round_numbers() {
        let axis = Axis::of_rates([430.0, 0.0, 18_000.0].into_iter(), 400.0, 0.0);
        let named: Vec<&str> = axis.ticks().iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(named, ["200", "500", "1K", "2K", "5K", "10K", "20K"]);
        assert_eq!((axis.place(200.0).round(), axis.place(20_000.0).round()), (400.0, 0.0));
        // What is below the axis stands at its foot: a logarithm has no zero.
        assert_eq!(axis.place(0.0).round(), 400.0);
    }

    #[test]
    fn one_value_or_none_is_no_reason_to_divide_by_zero() {
        assert_eq!(Axis::of_counts([7].into_iter(), 0.0, 10.0).place(7.0), 5.0);
        assert!(Axis::of_rates(std::iter::empty(), 0.0, 10.0).place(3.0).is_finite());
        assert!(Axis::of_rates([100.0, 100.0].into_iter(), 0.0, 10.0).place(100.0).is_finite());
    }
}
