//! Enters the door `map`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("map").enter)(bytes);
});
