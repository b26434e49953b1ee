# What `run` and `refresh` know of the bank: which patches there are, and how they are laid over the product. Sourced, not run.
#
# A bug that asks `mutated("its name")` is one of the common build: all of these are laid over each other, in the order of their
# names, behind `switch.diff`, so that one build holds them all, and each sleeps until it is named. The others are built one by one.
bank="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$bank/../.." && pwd)"

# patches [DIRECTORY...]: all of them, by name, candidates included.
patches() {
    find "$bank" -maxdepth 2 -name '*.patch' -printf '%f %p\n' | sort | cut -d' ' -f2
}

is_common() {
    grep -q '^+.*mutated("' "$1"
}

# lay PATCH DIRECTORY: applies it there. No fuzz: a bug that lands elsewhere is another bug.
lay() {
    (cd "$2" && patch --silent --no-backup-if-mismatch --fuzz 0 -p1 <"$1" >/dev/null)
}

# bring PATCH DIRECTORY: brings the files that it changes there from the product, unless they are there.
bring() {
    local file
    sed -n 's|^+++ b/||p' "$1" | while IFS= read -r file; do
        mkdir -p "$2/$(dirname "$file")"
        [ -f "$2/$file" ] || cp "$root/$file" "$2/$file"
    done
}

# lay_common DIRECTORY: the files of the common build. Names each patch that does not apply; whether all did.
lay_common() {
    local patch whole=0
    rm -rf "$1"
    mkdir -p "$1"
    for patch in "$bank/switch.diff" $(patches); do
        if [ "$patch" != "$bank/switch.diff" ] && ! is_common "$patch"; then continue; fi
        bring "$patch" "$1"
        if ! lay "$patch" "$1"; then
            echo "the patch does not apply any more: $(basename "$patch")" >&2
            whole=1
        fi
    done
    return "$whole"
}
