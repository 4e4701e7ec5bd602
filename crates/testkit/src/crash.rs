//! Storage that loses power: a redb backend in memory that forgets what was not synced.
//!
//! A test runs its work on a [`CrashingStorage`] that cuts the power at the n-th change, takes the
//! image that a disk could show afterwards ([`CrashingStorage::after_crash`]), opens it again, and
//! checks that everything acknowledged is there.
//!
//! What a disk may show after a cut is everything up to the last completed sync and any part of
//! what came after it, in any order, torn at sector boundaries: [`Loss`] chooses.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// The unit in which a disk writes: a write can be torn between sectors, not within one.
const SECTOR: usize = 512;

/// What becomes of the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are lost: power went before the disk wrote anything.
    Everything,
    /// None is lost: only the process was killed, and the kernel wrote them later.
    Nothing,
    /// Each sector is kept or lost by the toss of a seeded coin.
    Some(u64),
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug, Default)]
struct Disk {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    changes: u64,
    cut_after: Option<u64>,
}

/// A storage backend whose power can be cut. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct CrashingStorage(Arc<Mutex<Disk>>);

impl CrashingStorage {
    /// An empty disk that loses power after so many changes (writes, length changes and syncs):
    /// the change that would come next fails, and so does everything after it.
    #[must_use]
    pub fn cut_after(changes: u64) -> Self {
        let disk = Disk { cut_after: Some(changes), ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Cuts the power so many changes from now.
    pub fn cut_in(&self, changes: u64) {
        let mut disk = self.disk();
        disk.cut_after = Some(disk.changes.saturating_add(changes));
    }

    /// How many changes were made so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.disk().is_cut()
    }

    /// A working disk with what could be found after a crash at this moment.
    #[must_use]
    pub fn after_crash(&self, loss: Loss) -> Self {
        let disk = self.disk();
        let mut image = disk.durable.clone();
        let mut coin = Coin::new(loss);
        for change in &disk.unsynced {
            match change {
                Change::SetLen(len) if coin.keeps() => image.resize(*len, 0),
                Change::SetLen(_) => {}
                Change::Write { offset, data } => {
                    for (position, sector) in data.chunks(SECTOR).enumerate() {
                        if coin.keeps() {
                            write_at(&mut image, offset + position * SECTOR, sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(Disk { seen: image.clone(), durable: image, ..Disk::default() })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|limit| self.changes >= limit)
    }

    fn change(&mut self) -> io::Result<()> {
        if self.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        self.changes += 1;
        Ok(())
    }
}

impl StorageBackend for CrashingStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        let start = to_usize(offset)?;
        let found = start.checked_add(out.len()).and_then(|end| disk.seen.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let len = to_usize(len)?;
        disk.seen.resize(len, 0);
        disk.unsynced.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        for change in std::mem::take(&mut disk.unsynced) {
            match change {
                Change::SetLen(len) => disk.durable.resize(len, 0),
                Change::Write { offset, data } => write_at(&mut disk.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let offset = to_usize(offset)?;
        write_at(&mut disk.seen, offset, data);
        disk.unsynced.push(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(part) = image.get_mut(offset..end) {
        part.copy_from_slice(data);
    }
}

/// Decides, sector by sector, what survives.
struct Coin {
    loss: Loss,
    state: u64,
}

impl Coin {
    fn new(loss: Loss) -> Self {
        let state = if let Loss::Some(seed) = loss { seed } else { 0 };
        Self { loss, state }
    }

    /// SplitMix64: one step, top bit.
    fn keeps(&mut self) -> bool {
        match self.loss {
            Loss::Everything => false,
            Loss::Nothing => true,
            Loss::Some(_) => {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) >> 63 == 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_is_at_the_mercy_of_the_loss() {
        let disk = CrashingStorage::default();
        disk.set_len(4096).unwrap();
        disk.write(0, &[1; 1024]).unwrap();
        disk.sync_data().unwrap();
        disk.write(1024, &[2; 1024]).unwrap();
        let byte = |disk: &CrashingStorage, at| {
            let mut out = [0];
            disk.read(at, &mut out).unwrap();
            out[0]
        };
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(7)] {
            assert_eq!(byte(&disk.after_crash(loss), 0), 1);
        }
        assert_eq!(byte(&disk.after_crash(Loss::Everything), 1024), 0);
        assert_eq!(byte(&disk.after_crash(Loss::Nothing), 1024), 2);
    }

    #[test]
    fn nothing_works_without_power() {
        let disk = CrashingStorage::cut_after(1);
        disk.set_len(10).unwrap();
        assert!(disk.write(0, &[1]).is_err());
        assert!(disk.sync_data().is_err());
        assert!(disk.is_cut());
    }
}
