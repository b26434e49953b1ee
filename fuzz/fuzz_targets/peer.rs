//! Enters the door `peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("peer").enter)(bytes);
});
