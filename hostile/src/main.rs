//! Writes what the corpora begin with, and touches nothing else in them: `cargo run -p flotilla-hostile`.

use std::io;

fn main() -> io::Result<()> {
    for door in flotilla_hostile::DOORS {
        let directory = door.corpus_directory();
        std::fs::create_dir_all(&directory)?;
        for (name, bytes) in (door.seeds)() {
            std::fs::write(directory.join(name), bytes)?;
        }
    }
    Ok(())
}
