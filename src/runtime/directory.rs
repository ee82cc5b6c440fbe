//! Where nodes are: what each says of itself is told from node to node, and the newest word counts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::Path;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use super::wire::{decode, encode};
use crate::id::NodeId;
use crate::net::Address;

/// The file in a node's folder that keeps the directory over a restart.
const NAME: &str = "directory";
const NEW_NAME: &str = "directory.new";

/// The format of the file.
const FORMAT: u32 = 1;

/// Nodes that a directory holds at most: nobody fills a memory by making them up.
const NODES_MAX: usize = 1_024;

/// Bytes of an address at most.
const ADDRESS_BYTES_MAX: usize = 300;

/// Addresses by node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Directory {
    entries: BTreeMap<NodeId, Place>,
}

/// Where a node says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Place {
    address: String,
    /// When it said so, in milliseconds of its wall clock; 0 for what was configured elsewhere.
    since: u64,
}

impl Directory {
    /// Puts down what a configuration says of a node: until the node itself is heard.
    pub(super) fn configure(&mut self, node: NodeId, address: &Address) {
        let since = self.entries.get(&node).map_or(0, |place| place.since);
        let address = address.to_string();
        self.entries.insert(node, Place { address, since });
    }

    /// Puts down what a node says of itself.
    pub(super) fn announce(&mut self, node: NodeId, address: &Address, since: u64) {
        let address = address.to_string();
        self.entries.insert(node, Place { address, since });
    }

    /// Takes over what is newer in `other`. *Gives* the nodes whose address is another now.
    pub(super) fn merge(&mut self, other: Self) -> Vec<(NodeId, Address)> {
        let mut changed = Vec::new();
        for (node, place) in other.entries {
            let Some(address) = place.address() else { continue };
            let is_full = self.entries.len() >= NODES_MAX;
            match self.entries.entry(node) {
                Entry::Occupied(mut known) if known.get().since < place.since => {
                    if known.get().address != place.address {
                        changed.push((node, address));
                    }
                    known.insert(place);
                }
                Entry::Vacant(unknown) if !is_full => {
                    changed.push((node, address));
                    unknown.insert(place);
                }
                Entry::Occupied(_) | Entry::Vacant(_) => {}
            }
        }
        changed
    }

    pub(super) fn addresses(&self) -> BTreeMap<NodeId, Address> {
        let entries = self.entries.iter();
        entries
            .filter_map(|(node, place)| Some((*node, place.address()?)))
            .collect()
    }

    /// What was kept in a node's folder; empty if nothing was, or it cannot be read: then the configuration has to do.
    pub(super) fn load(folder: &Path) -> Self {
        let path = folder.join(NAME);
        let Ok(bytes) = fs::read(&path) else {
            return Self::default();
        };
        read(&bytes).unwrap_or_else(|why| {
            let path = path.display();
            tracing::warn!(%path, why, "the addresses that were kept are left aside: those of the configuration count");
            Self::default()
        })
    }

    /// Keeps it in a node's folder.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend(encode(self));
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        fs::write(folder.join(NEW_NAME), bytes)?;
        fs::rename(folder.join(NEW_NAME), folder.join(NAME))
    }
}

/// What the bytes of a file say: its format, the directory, and the sum of both.
fn read(bytes: &[u8]) -> Result<Directory, String> {
    let damaged = || "it is damaged".to_owned();
    let (content, sum) = bytes.split_last_chunk().ok_or_else(damaged)?;
    let (format, directory) = content.split_first_chunk().ok_or_else(damaged)?;
    if u64::from_le_bytes(*sum) != xxh3_64(content) {
        return Err(damaged());
    }
    match u32::from_le_bytes(*format) {
        FORMAT => decode(directory),
        format => Err(format!(
            "it has format {format}, and this version knows format {FORMAT}"
        )),
    }
}

impl Place {
    fn address(&self) -> Option<Address> {
        if self.address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        self.address.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::Socket(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn the_newest_word_of_a_node_counts_and_goes_from_one_to_another() {
        let (first, second) = (NodeId::new(1), NodeId::new(2));
        let mut here = Directory::default();
        here.configure(second, &address(20));
        let mut there = Directory::default();
        there.announce(second, &address(21), 5);
        assert_eq!(here.merge(there.clone()), [(second, address(21))]);
        assert_eq!(here.merge(there.clone()), []);
        let mut old = Directory::default();
        old.announce(second, &address(19), 4);
        old.announce(first, &address(10), 4);
        assert_eq!(here.merge(old), [(first, address(10))]);
        assert_eq!(here.addresses(), [(first, address(10)), (second, address(21))].into());
        // What is configured holds until the node itself says otherwise.
        here.configure(second, &address(22));
        assert_eq!(here.merge(there), []);
        let mut moved = Directory::default();
        moved.announce(second, &address(23), 6);
        assert_eq!(here.merge(moved), [(second, address(23))]);
    }

    #[test]
    fn what_is_no_address_and_what_is_too_much_is_passed_over() {
        let mut here = Directory::default();
        let mut wrong = Directory::default();
        let place = |address: &str| Place {
            address: address.to_owned(),
            since: 1,
        };
        wrong.entries.insert(NodeId::new(1), place("nowhere"));
        wrong
            .entries
            .insert(NodeId::new(2), place(&format!("{}:1", "a".repeat(400))));
        assert_eq!(here.merge(wrong), []);
        let mut many = Directory::default();
        (1..3_000).for_each(|node| many.announce(NodeId::new(node), &address(1), 1));
        assert_eq!(here.merge(many).len(), NODES_MAX);
    }

    #[test]
    fn it_is_kept_in_a_folder() {
        let folder = std::env::temp_dir().join(format!("plimsoll-directory-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(Directory::load(&folder), Directory::default());
        let mut directory = Directory::default();
        directory.announce(NodeId::new(1), &address(1), 1);
        directory.save(&folder).unwrap();
        assert_eq!(Directory::load(&folder), directory);
        let mut bytes = fs::read(folder.join(NAME)).unwrap();
        bytes[6] ^= 1;
        assert_eq!(read(&bytes), Err("it is damaged".to_owned()));
        let mut later = 2_u32.to_le_bytes().to_vec();
        later.extend(xxh3_64(&later).to_le_bytes());
        let why = "it has format 2, and this version knows format 1";
        assert_eq!(read(&later), Err(why.to_owned()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
