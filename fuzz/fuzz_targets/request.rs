//! Enters the door `request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("request").enter)(bytes);
});
