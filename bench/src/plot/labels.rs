//! Names that stand at the ends of their lines without covering each other.

/// The height of a name.
pub(super) const LINE: f64 = 17.0;

/// Places as near to the wanted ones as they can be, a line's height apart, in the same order, inside `top..=bottom`
/// (if there is room).
pub(super) fn apart(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    // Down as far as necessary, then up again from the bottom.
    let mut free = top;
    for at in &order {
        places[*at] = places[*at].max(free);
        free = places[*at] + LINE;
    }
    let mut free = bottom;
    for at in order.iter().rev() {
        places[*at] = places[*at].min(free);
        free = places[*at] - LINE;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_move_only_as_far_as_they_must() {
        assert_eq!(apart(&[10.0, 100.0], 0.0, 200.0), [10.0, 100.0]);
        assert_eq!(apart(&[100.0, 100.0, 101.0], 0.0, 200.0), [100.0, 117.0, 134.0]);
        assert_eq!(apart(&[199.0, 198.0], 0.0, 200.0), [200.0, 183.0]);
        assert_eq!(apart(&[], 0.0, 200.0), Vec::<f64>::new());
    }
}
