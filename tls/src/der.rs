//! When a certificate ends: the one field that the verifier does not hand out.
//!
//! Only for warnings and a metric: whether a certificate may be used is judged by `webpki`, which reads it itself.

use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// In seconds since 1970; `None`: it is no certificate.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let mut whole = certificate.as_ref();
    let mut signed = &mut whole;
    let mut inner = take(signed, SEQUENCE)?;
    signed = &mut inner;
    let mut fields = take(signed, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        take(&mut fields, VERSION)?;
    }
    take(&mut fields, INTEGER)?;
    // The signature's algorithm, the issuer.
    take(&mut fields, SEQUENCE)?;
    take(&mut fields, SEQUENCE)?;
    let mut validity = take(&mut fields, SEQUENCE)?;
    time(&mut validity)?;
    time(&mut validity)
}

/// The next element, which must have this tag; moves behind it.
fn take<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, rest) = from.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    *from = behind;
    (first == tag).then_some(content)
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` after (RFC 5280, 4.1.2.5).
fn time(from: &mut &[u8]) -> Option<u64> {
    let (text, year_digits) = match from.first()? {
        &UTC_TIME => (take(from, UTC_TIME)?, 2),
        _ => (take(from, GENERALIZED_TIME)?, 4),
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = text.split_at(year_digits);
    let year: i64 = year.parse().ok()?;
    let year = match (year_digits, year) {
        (2, 0..50) => 2000 + year,
        (2, _) => 1900 + year,
        _ => year,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let days = days(year, part(0)?, part(2)?);
    u64::try_from(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?).ok()
}

/// Days since 1970 of a date (Hinnant, "chrono-compatible low-level date algorithms": years that begin in March).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use flotilla_notary::{Authority, Subject};
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_notations() {
        let authority = Authority::new("test");
        // The ends of 1999, of February 2028, of 2049 and of 2099; and a moment in 2050.
        for end in [946_684_799, 1_835_395_199, 2_524_607_999, 2_524_608_000, 4_102_444_799] {
            let subject = Subject::client("x").until(UNIX_EPOCH + Duration::from_secs(end));
            let issued = authority.issue(&subject).certificate;
            let certificate = CertificateDer::from_pem_slice(issued.as_bytes()).unwrap();
            assert_eq!(not_after(&certificate), Some(end));
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let issued = Authority::new("test").issue(&Subject::client("x")).certificate;
        let certificate = CertificateDer::from_pem_slice(issued.as_bytes()).unwrap();
        let bytes = certificate.as_ref();
        for end in 0..bytes.len() {
            assert_eq!(not_after(&bytes[..end].into()), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= flip;
                // Any answer will do that is not a panic.
                let _ = not_after(&bytes.into());
            }
        }
    }
}
