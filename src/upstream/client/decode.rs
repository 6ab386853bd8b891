//! Collects the body of a response: decompresses gzip, deflate and brotli, and enforces the size limit.

use bytes::{Bytes, BytesMut};
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use super::error::detail;
use crate::http1::response_headers::ResponseHeaders;
use crate::upstream::TransportError;

/// The most bytes to reserve because of a `content-length`, which may be false.
const MAX_RESERVED: usize = 64 * 1024;
/// The first byte of each member of a gzip body.
const GZIP_MEMBER: u8 = 0x1f;
/// How many more bytes compressed data may have than its limit and an eighth of that.
const MAX_OVERHEAD: usize = 1024;
/// How many bytes are decompressed at a time.
const STEP: usize = 8 * 1024;

/// A body as far as it has been read.
pub(super) struct BodyBuffer {
    plain: BytesMut,
    limit: usize,
    /// How many bytes were received, compressed.
    received: usize,
    codec: Option<Codec>,
    /// Whether the content coding is `deflate`. Some servers send the zlib format, others raw deflate.
    is_deflated: bool,
}

struct Codec {
    decoder: Box<dyn DecodeV2 + Send>,
    /// Whether the decoder may hold back output after it has consumed all input. The gzip decoder does so only before
    /// its eight-byte trailer, and the trailer is further input.
    holds_back: bool,
    /// Whether further data of the same format may follow the end of the compressed data, as in gzip.
    has_members: bool,
    phase: DecodePhase,
}

/// The progress of a decoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DecodePhase {
    Start,
    Within,
    End,
}

impl BodyBuffer {
    /// A buffer for a body with these headers and this declared length. Removes the headers that describe the
    /// compressed form.
    ///
    /// # Errors
    /// The declared length exceeds `limit`.
    pub(super) fn new(
        headers: &mut ResponseHeaders,
        declared: Option<u64>,
        limit: usize,
    ) -> Result<Self, TransportError> {
        let coding = headers.get(CONTENT_ENCODING.as_str());
        let is = |name: &str| coding.is_some_and(|coding| coding.eq_ignore_ascii_case(name.as_bytes()));
        let (is_gzip, is_brotli, is_deflated) = (is("gzip") || is("x-gzip"), is("br"), is("deflate"));
        let decoder: Option<Box<dyn DecodeV2 + Send>> = if is_gzip {
            Some(Box::new(GzipDecoder::new()))
        } else if is_brotli {
            Some(Box::new(BrotliDecoder::new()))
        } else {
            None
        };
        let codec = decoder.map(|decoder| Codec {
            decoder,
            holds_back: is_brotli,
            has_members: !is_brotli,
            phase: DecodePhase::Start,
        });
        // The limit applies to the decompressed body, whose length is not declared.
        let declared = declared.filter(|_| codec.is_none()).unwrap_or(0);
        let declared = usize::try_from(declared).unwrap_or(usize::MAX);
        if declared > limit {
            return Err(TransportError::TooLarge { limit });
        }
        if codec.is_some() || is_deflated {
            *headers = headers.without(&[CONTENT_ENCODING, CONTENT_LENGTH]);
        }
        Ok(Self {
            plain: BytesMut::with_capacity(declared.min(MAX_RESERVED)),
            limit,
            received: 0,
            codec,
            is_deflated,
        })
    }

    /// How many bytes it has, decompressed.
    pub(super) fn len(&self) -> usize {
        self.plain.len()
    }

    /// How many bytes it may have in the end, if `declared` are received.
    pub(super) fn most(&self, declared: Option<u64>) -> usize {
        let declared = declared.filter(|_| self.codec.is_none() && !self.is_deflated);
        declared.and_then(|declared| usize::try_from(declared).ok()).unwrap_or(self.limit).min(self.limit)
    }

    /// Adds a chunk of the body as received.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        let Self { plain, limit, codec, received, .. } = self;
        *received += chunk.len();
        // Compressed data may decompress to nothing, without end.
        if *received > *limit + *limit / 8 + MAX_OVERHEAD {
            return Err(TransportError::TooLarge { limit: *limit });
        }
        match codec {
            None => append(plain, *limit, chunk),
            Some(codec) => codec.decode(chunk, |bytes| append(plain, *limit, bytes)),
        }
    }

    /// The whole body.
    pub(super) fn finish(self) -> Result<Bytes, TransportError> {
        let Self { plain, limit, codec, is_deflated, .. } = self;
        let body = plain.freeze();
        if let Some(codec) = codec {
            return codec.end().map(|()| body);
        }
        if is_deflated && !body.is_empty() {
            let decompressed = decompress(Box::new(ZlibDecoder::new()), &body, limit);
            return match decompressed {
                Err(TransportError::Invalid { .. }) => {
                    decompress(Box::new(DeflateDecoder::new()), &body, limit)
                }
                decompressed => decompressed,
            };
        }
        let decoder: Box<dyn DecodeV2 + Send> = match *body {
            [0x1f, 0x8b, 8, ..] => Box::new(GzipDecoder::new()),
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Box::new(ZlibDecoder::new()),
            _ => return Ok(body),
        };
        // No header declares this compression. If decompression fails, the body is something else.
        match decompress(decoder, &body, limit) {
            Err(TransportError::Invalid { .. }) => Ok(body),
            decompressed => decompressed,
        }
    }
}

/// Decompresses a complete body.
fn decompress(decoder: Box<dyn DecodeV2 + Send>, body: &[u8], limit: usize) -> Result<Bytes, TransportError> {
    let mut plain = BytesMut::new();
    let has_members = body.first() == Some(&GZIP_MEMBER);
    let mut codec = Codec { decoder, holds_back: true, has_members, phase: DecodePhase::Start };
    codec.decode(body, |bytes| append(&mut plain, limit, bytes))?;
    codec.end()?;
    Ok(plain.freeze())
}

fn append(plain: &mut BytesMut, limit: usize, bytes: &[u8]) -> Result<(), TransportError> {
    if bytes.len() > limit - plain.len() {
        return Err(TransportError::TooLarge { limit });
    }
    plain.extend_from_slice(bytes);
    Ok(())
}

impl Codec {
    /// Checks that the compressed data is complete.
    fn end(&self) -> Result<(), TransportError> {
        match self.phase {
            DecodePhase::Within => {
                Err(TransportError::Invalid { detail: "unexpected end of file".to_owned() })
            }
            DecodePhase::Start | DecodePhase::End => Ok(()),
        }
    }

    /// Decompresses `chunk` and passes the output to `sink` in pieces.
    fn decode(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        let invalid = |error: std::io::Error| TransportError::Invalid { detail: detail(&error) };
        let mut input = PartialBuffer::new(chunk);
        let mut scratch = [0; STEP];
        let mut is_full = false;
        // Bytes after the end of the compressed data are ignored.
        while self.phase != DecodePhase::End && (!input.unwritten().is_empty() || is_full && self.holds_back)
        {
            self.phase = DecodePhase::Within;
            let unread = input.unwritten().len();
            let mut output = WriteBuffer::new_initialized(&mut scratch);
            if self.decoder.decode(&mut input, &mut output).map_err(invalid)? {
                self.phase = DecodePhase::End;
                if self.has_members && input.unwritten().first() == Some(&GZIP_MEMBER) {
                    self.decoder.reinit().map_err(invalid)?;
                    self.phase = DecodePhase::Within;
                }
            } else if unread > 0 && input.unwritten().len() == unread && output.written().is_empty() {
                return Err(invalid(std::io::ErrorKind::InvalidData.into()));
            }
            is_full = output.has_no_spare_space();
            sink(output.written())?;
        }
        Ok(())
    }
}
