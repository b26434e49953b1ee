//! Enters the door `snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("snapshot").enter)(bytes);
});
