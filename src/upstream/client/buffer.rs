//! The bytes that a connection has received and nobody has consumed yet.

/// The size of an empty buffer, and of one that is kept with an idle connection.
const SMALL: usize = 4 * 1024;

/// Received bytes. It grows while more bytes arrive at once than it has room for.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes that have not been consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Consumes the next `length` bytes, and returns those of them that were received.
    pub(super) fn consume(&mut self, length: usize) -> &[u8] {
        let from = self.start;
        self.start = self.end.min(from + length);
        self.bytes.get(from..self.start).unwrap_or_default()
    }

    /// Room for at least one more byte: the caller writes into it, and calls [`Buffer::received`]. A full buffer
    /// doubles its size, up to `most` bytes; beyond that it grows as little as possible.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            let doubled = (self.bytes.len() * 2).clamp(SMALL, most.max(SMALL));
            self.bytes.resize(doubled.max(self.end + 1), 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Adds the first `length` bytes of the room.
    pub(super) fn received(&mut self, length: usize) {
        self.end = self.bytes.len().min(self.end + length);
    }

    /// Gives back the memory of a large buffer that is empty.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > SMALL {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
impl Buffer {
    /// Receives bytes.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room(16 * 1024);
            let length = room.len().min(bytes.len()).min(1000);
            room[..length].copy_from_slice(&bytes[..length]);
            self.received(length);
            bytes = &bytes[length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_consumed_in_the_order_in_which_they_arrive() {
        let bytes: Vec<u8> = (0..50_000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut buffer = Buffer::default();
        let mut read = Vec::new();
        for part in bytes.chunks(7_000) {
            buffer.receive(part);
            read.extend_from_slice(buffer.consume(3_000));
        }
        read.extend_from_slice(buffer.unread());
        assert!(read == bytes);
        assert_eq!(buffer.consume(usize::MAX / 2).len(), 50_000 - 8 * 3_000);
        assert!(buffer.is_empty());
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn a_buffer_that_is_emptied_each_time_does_not_grow() {
        let mut buffer = Buffer::default();
        for _ in 0..100 {
            buffer.receive(&[1; 1000]);
            assert_eq!(buffer.consume(1000).len(), 1000);
        }
        assert_eq!(buffer.bytes.len(), SMALL);
        buffer.shrink();
        assert_eq!(buffer.bytes.len(), SMALL);
    }
}
