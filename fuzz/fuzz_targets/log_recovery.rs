//! Enters the door `log_recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (flotilla_hostile::door("log_recovery").enter)(bytes);
});
