//! What a disk must do, over any implementation of it.

use std::io::ErrorKind;
use std::sync::Arc;

use plimsoll::store::disk::{Disk, File};

/// The suite over one implementation, as tests in a module.
///
/// *Given* the module's name, an empty disk, and what makes of a disk the one that is there once the process has ended and begun again.
macro_rules! suite {
    ($name:ident, $empty:expr, $restart:expr) => {
        disk::suite!(@tests $name, $empty, $restart,
            what_is_written_is_read_back,
            a_read_behind_the_end_is_an_error_and_gives_nothing,
            a_file_grows_with_zeros_and_is_cut,
            two_handles_are_of_one_file,
            names_are_ascending_and_a_file_has_one_once_it_is_opened,
            a_renamed_file_takes_the_place_of_another,
            a_removed_file_is_gone_and_begins_empty,
            what_is_not_there_is_neither_renamed_nor_removed,
            names_that_could_lead_elsewhere_are_refused,
            what_was_synced_is_there_after_a_restart,
        );
    };
    (@tests $name:ident, $empty:expr, $restart:expr, $($test:ident,)*) => {
        mod $name {
            use super::*;

            $(
                #[test]
                fn $test() {
                    disk::$test($empty, $restart);
                }
            )*
        }
    };
}
pub(crate) use suite;

pub(crate) fn all_of(file: &dyn File) -> Vec<u8> {
    let len = file.len().expect("the medium is sound");
    let mut bytes = vec![0xee; usize::try_from(len).expect("a small file")];
    file.read(0, &mut bytes).expect("the medium is sound");
    bytes
}

fn open(disk: &impl Disk, name: &str) -> Arc<dyn File> {
    disk.open(name).expect("the medium is sound")
}

pub(crate) fn what_is_written_is_read_back<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    let file = open(&disk, "a");
    assert!(file.is_empty().expect("the medium is sound"));
    file.write(0, b"abcdef").expect("the medium is sound");
    file.write(4, b"EFGH").expect("the medium is sound");
    assert_eq!(all_of(&*file), b"abcdEFGH");
    let mut middle = [0; 3];
    file.read(3, &mut middle).expect("the medium is sound");
    assert_eq!(&middle, b"dEF");
    // Across sectors and blocks, and with a hole before it.
    let long: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    file.write(5000, &long).expect("the medium is sound");
    let bytes = all_of(&*file);
    assert_eq!(bytes.len(), 15_000);
    assert_eq!((&bytes[..8], &bytes[5000..]), (&b"abcdEFGH"[..], &long[..]));
    assert!(bytes[8..5000].iter().all(|byte| *byte == 0));
    file.write(15_000, b"").expect("writing nothing is nothing");
    assert_eq!(file.len().expect("the medium is sound"), 15_000);
}

pub(crate) fn a_read_behind_the_end_is_an_error_and_gives_nothing<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    let file = open(&disk, "a");
    file.write(0, b"abc").expect("the medium is sound");
    for offset in [1, 3, 1000] {
        let error = file.read(offset, &mut [0; 3]).expect_err("the file ends before");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    file.read(3, &mut []).expect("nothing is there to be read");
}

pub(crate) fn a_file_grows_with_zeros_and_is_cut<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    let file = open(&disk, "a");
    file.write(0, &[7; 1500]).expect("the medium is sound");
    file.set_len(700).expect("the medium is sound");
    file.set_len(2000).expect("the medium is sound");
    let bytes = all_of(&*file);
    assert_eq!(bytes[..700], [7; 700]);
    assert_eq!(bytes[700..], [0; 1300], "what was cut off does not come back");
}

pub(crate) fn two_handles_are_of_one_file<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    let (first, second) = (open(&disk, "a"), open(&disk, "a"));
    first.write(0, b"abc").expect("the medium is sound");
    assert_eq!(all_of(&*second), b"abc");
    second.set_len(1).expect("the medium is sound");
    assert_eq!(all_of(&*first), b"a");
}

pub(crate) fn names_are_ascending_and_a_file_has_one_once_it_is_opened<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    assert_eq!(disk.names().expect("the medium is sound"), Vec::<String>::new());
    for name in ["b.sums", "a-2", "a-10"] {
        open(&disk, name);
    }
    assert_eq!(disk.names().expect("the medium is sound"), ["a-10", "a-2", "b.sums"]);
}

pub(crate) fn a_renamed_file_takes_the_place_of_another<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    let (old, new) = (open(&disk, "old"), open(&disk, "new"));
    old.write(0, b"old").expect("the medium is sound");
    new.write(0, b"newer").expect("the medium is sound");
    disk.rename("new", "old").expect("the medium is sound");
    assert_eq!(disk.names().expect("the medium is sound"), ["old"]);
    assert_eq!(all_of(&*open(&disk, "old")), b"newer");
    new.write(0, b"N").expect("the handle is still of the file");
    assert_eq!(all_of(&*open(&disk, "old")), b"Newer");
}

pub(crate) fn a_removed_file_is_gone_and_begins_empty<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    open(&disk, "a").write(0, b"abc").expect("the medium is sound");
    disk.remove("a").expect("the medium is sound");
    assert_eq!(disk.names().expect("the medium is sound"), Vec::<String>::new());
    assert_eq!(all_of(&*open(&disk, "a")), b"");
}

pub(crate) fn what_is_not_there_is_neither_renamed_nor_removed<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    open(&disk, "b");
    for result in [disk.rename("a", "b"), disk.remove("a")] {
        assert_eq!(result.expect_err("there is none").kind(), ErrorKind::NotFound);
    }
    assert_eq!(disk.names().expect("the medium is sound"), ["b"]);
}

pub(crate) fn names_that_could_lead_elsewhere_are_refused<D: Disk>(disk: D, _: impl Fn(D) -> D) {
    for name in ["", ".", "..", ".hidden", "a/b", "../a", "lock", "a b", "ä", "a\0"] {
        let refused = [
            disk.open(name).map(drop),
            disk.rename(name, "a"),
            disk.rename("a", name),
            disk.remove(name),
        ];
        for result in refused {
            assert_eq!(result.expect_err("no name").kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
    assert_eq!(disk.names().expect("the medium is sound"), Vec::<String>::new());
}

pub(crate) fn what_was_synced_is_there_after_a_restart<D: Disk>(disk: D, restart: impl Fn(D) -> D) {
    let file = open(&disk, "a");
    file.write(0, b"abc").expect("the medium is sound");
    file.set_len(5).expect("the medium is sound");
    file.sync().expect("the medium is sound");
    open(&disk, "b");
    disk.rename("b", "c").expect("the medium is sound");
    disk.sync().expect("the medium is sound");
    drop(file);
    let disk = restart(disk);
    assert_eq!(disk.names().expect("the medium is sound"), ["a", "c"]);
    assert_eq!(all_of(&*open(&disk, "a")), b"abc\0\0");
}
