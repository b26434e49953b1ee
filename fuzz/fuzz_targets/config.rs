//! Enters the door `config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("config").enter)(bytes);
});
