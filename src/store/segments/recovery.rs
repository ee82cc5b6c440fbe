//! What a crash, or damage, has left of a log.

use super::super::StoreError;
use super::super::disk::Disk;
use super::segment::{FORMAT, FoundHeader, Header, Named, Segment, named, segment_name};
use crate::id::StorageId;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ascending, each with the entries that are there.
    pub(super) segments: Vec<Segment>,
    pub(super) spares: Vec<String>,
    /// The highest number among the names of spares.
    pub(super) spares_made: u64,
    /// The number of the entry behind the last one.
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) is_torn: bool,
    /// Why what was found is not all that was durable.
    pub(super) damage: Option<StoreError>,
}

/// Looks at everything that is there, and changes nothing.
///
/// *Errors* when the medium fails, or the files are not of this storage or of a later format.
pub(super) fn look(
    disk: &dyn Disk,
    storage: StorageId,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut numbers = Vec::new();
    let names = disk
        .names()
        .map_err(|error| StoreError::of_medium(disk, "", "list", error))?;
    for name in names {
        match named(&name) {
            Some(Named::Segment(number)) => numbers.push(number),
            Some(Named::Spare(number)) => {
                found.spares_made = found.spares_made.max(number);
                found.spares.push(name);
            }
            None => {}
        }
    }
    numbers.sort_unstable();
    let mut headers = Vec::new();
    for number in numbers {
        headers.push((number, header(disk, storage, number)?));
    }
    // A crash while a segment is begun leaves one without a header: nothing was written to it yet. It is the last one, and is begun anew.
    if let Some((number, None)) = headers.last() {
        found.is_torn = true;
        found.spares.push(segment_name(*number));
        headers.pop();
    }
    let total: u64 = headers
        .iter()
        .flat_map(|(_, header)| header)
        .map(|(_, bytes)| bytes)
        .sum();
    let damaged = |number: u64, place: String, reason: String| StoreError::Damaged {
        file: format!("{}/{}", disk.path(), segment_name(number)),
        place,
        reason,
    };
    let mut looked = 0;
    for (place, (number, header)) in headers.iter().enumerate() {
        let Some((header, bytes)) = header else {
            let reason = "it is not what was written".to_owned();
            found.damage = Some(damaged(*number, "its header".to_owned(), reason));
            return Ok(found);
        };
        let is_next = place == 0 || header.first == found.entries && *number == headers[place - 1].0 + 1;
        if header.number != *number || !is_next {
            let reason = format!(
                "it is segment {} and begins with entry {}, but entry {} is the next: a segment before it is missing",
                header.number, header.first, found.entries
            );
            found.damage = Some(damaged(*number, "its header".to_owned(), reason));
            return Ok(found);
        }
        let name = segment_name(*number);
        let file = disk
            .open(&name)
            .map_err(|error| StoreError::of_medium(disk, &name, "open", error))?;
        let mut segment = Segment::new(disk, file, *header, *bytes);
        // What stands behind the last entry of a segment that another one follows was torn before that one was begun.
        let following = headers.get(place + 1).map(|(_, next)| next);
        let end = following.and_then(|next| next.as_ref().map(|(next, _)| next.first));
        let marked = segment.scan(end, &mut |bytes| {
            looked += bytes;
            on_progress(looked, total);
        })?;
        let known = match end {
            Some(end) => end,
            None => marked.max(segment.mark_behind()?.unwrap_or_default()),
        };
        found.entries = segment.end();
        found.bytes += segment.offset();
        if segment.end() < known {
            let place = format!("entry {} at byte {}", segment.end(), segment.offset());
            let reason = format!("its checksum is not that of its bytes, and {known} entries were durable");
            found.damage = Some(damaged(*number, place, reason));
            found.segments.push(segment);
            return Ok(found);
        }
        found.is_torn |= end.is_none() && segment.has_something_behind()?;
        found.segments.push(segment);
    }
    on_progress(total, total);
    Ok(found)
}

/// The header of a segment, if it has a sound one, and its length.
fn header(disk: &dyn Disk, storage: StorageId, number: u64) -> Result<Option<(Header, u64)>, StoreError> {
    let name = segment_name(number);
    let failed = |action, error| StoreError::of_medium(disk, &name, action, error);
    let file = disk.open(&name).map_err(|error| failed("open", error))?;
    let length = file.len().map_err(|error| failed("look at", error))?;
    match Header::find(&*file, number).map_err(|error| failed("read", error))? {
        FoundHeader::None => Ok(None),
        FoundHeader::Future(found) => Err(StoreError::Future {
            file: format!("{}/{name}", disk.path()),
            found,
            known: FORMAT,
        }),

        FoundHeader::Sound(header) if header.storage != storage => Err(StoreError::Foreign {
            folder: disk.path(),
            found: format!("storage {}", header.storage),
            expected: format!("storage {storage}"),
        }),
        FoundHeader::Sound(header) => Ok(Some((header, length))),
    }
}
