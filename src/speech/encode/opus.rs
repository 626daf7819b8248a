//! Opus in Ogg by libopus (translated to Rust) and `ogg`. Invariant: the granule positions tell the
//! decoder exactly which samples to play, so that as many come out as went in.
//!
//! RFC 7845: OpusHead and OpusTags on a page each, then packets of 20 ms at about 30 kbit/s, variable.
//! Positions count 48 kHz samples and the pre-skip; the last page's is the true end, before the end of
//! its packet. The first page of audio has one packet, so that it leaves at once; then a page is 100
//! ms, which costs 2.6 kbit/s.
//!
//! Clean speech, so the application is `audio`, which changes nothing about the sound first; told that
//! it is voice, libopus takes its hybrid mode up to 12 kHz at this rate. Complexity 5 costs 0.008 to
//! 0.010 CPU seconds per second of speech (0: 0.004, 3: 0.007, 7: 0.012, 9: 0.016), a packet at most
//! 0.4 ms; setting up takes 0.01 ms.
//!
//! `unsafe`: the translation has the interface of C. All of an encoder's state lies in one block of
//! memory that it neither frees nor keeps pointers into, so here it is a plain box of ours, and the
//! struct is `Send` by itself.
#![allow(unsafe_code)]

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use unsafe_libopus::{
    OPUS_APPLICATION_AUDIO, OPUS_GET_LOOKAHEAD_REQUEST, OPUS_OK, OPUS_SET_BITRATE_REQUEST,
    OPUS_SET_COMPLEXITY_REQUEST, OPUS_SET_SIGNAL_REQUEST, OPUS_SIGNAL_VOICE, OpusEncoder,
    opus_encode, opus_encoder_ctl_impl, opus_encoder_get_size, opus_encoder_init, varargs,
};

use super::EncodeError;
use crate::limits::{KIB, SPEECH_HZ};

/// Memory of one encoder: 43 KiB of libopus, 9 KiB for a page, a packet and a frame, and the 21 KiB
/// that encoding a packet takes and gives back.
pub const STATE_BYTES: usize = 80 * KIB;
/// Samples of one packet: 20 ms.
const FRAME_SAMPLES: usize = SPEECH_HZ as usize / 50;
/// Positions count samples of 48 kHz, whatever the rate of the input.
const POSITIONS_PER_SAMPLE: u64 = 48_000 / SPEECH_HZ as u64;
/// Bits a second that libopus aims at.
const BITRATE: i32 = 32_000;
/// See above.
const COMPLEXITY: i32 = 5;
/// The largest packet allowed. Speech makes 80 bytes, at most 131 were seen; below 255, a packet has
/// one lacing value.
const PACKET_BYTES: usize = 160;
/// Packets on a page, but for the first.
const PAGE_PACKETS: usize = 5;
/// A page's head without lacing values.
const PAGE_HEAD_BYTES: usize = 27;
/// There is one logical stream, and the same speech gives the same bytes: "even", in ASCII.
const SERIAL: u32 = u32::from_le_bytes(*b"even");
/// Who encoded it.
const VENDOR: &[u8] = b"libopus, by Evensong";
/// OpusHead is 19 bytes; OpusTags is 8 bytes of magic, the vendor, and no comments.
pub const HEADER_BYTES: usize = 2 * (PAGE_HEAD_BYTES + 1) + 19 + 8 + 4 + VENDOR.len() + 4;
/// What the calls to libopus rest on.
const NOTHING_TO_REFUSE: &str = "libopus has a frame of 20 ms and room for a packet";
/// What the calls to `ogg` rest on.
const VEC_TAKES_ALL: &str = "writing to a Vec does not fail";

/// An encoder in the middle of a stream.
pub struct Opus {
    /// libopus's state, aligned for all that is in it.
    state: Box<[u64]>,
    pages: PacketWriter<'static, Vec<u8>>,
    /// The packet in the making.
    frame: Vec<i16>,
    /// Samples that libopus looks ahead, by which its output is late.
    lookahead: usize,
    samples: u64,
    packets: u64,
    /// Packets of the unfinished page.
    on_page: usize,
}

impl Opus {
    /// An encoder at the beginning of a stream; it takes 0.01 ms and [`STATE_BYTES`].
    pub fn new() -> Result<Self, EncodeError> {
        let (state, lookahead) = libopus().map_err(|code| EncodeError {
            codec: "opus",
            reason: format!("libopus says {code}"),
        })?;
        Ok(Self {
            state,
            pages: PacketWriter::new(Vec::new()),
            frame: Vec::with_capacity(FRAME_SAMPLES),
            lookahead,
            samples: 0,
            packets: 0,
            on_page: 0,
        })
    }

    /// The most bytes that `samples` more samples and the end of the stream can become, header
    /// included.
    pub fn most_bytes(&self, samples: usize) -> usize {
        let packets = (self.packets_of(self.samples + samples as u64) - self.packets) as usize;
        if packets == 0 {
            return 0;
        }
        let waiting = packets + self.on_page;
        // The first page has one packet, so there is one page more than would be needed.
        let pages = waiting.div_ceil(PAGE_PACKETS) + 1;
        let header = if self.packets == 0 { HEADER_BYTES } else { 0 };
        header + pages * PAGE_HEAD_BYTES + waiting * (PACKET_BYTES + 1)
    }

    /// Appends the pages that `samples` complete; the first ones come with the 480th sample.
    pub fn encode(&mut self, mut samples: &[i16], out: &mut Vec<u8>) {
        while !samples.is_empty() {
            let (piece, rest) =
                samples.split_at(samples.len().min(FRAME_SAMPLES - self.frame.len()));
            self.frame.extend_from_slice(piece);
            self.samples += piece.len() as u64;
            samples = rest;
            if self.frame.len() == FRAME_SAMPLES {
                self.packet(false, out);
            }
        }
    }

    /// Appends what is still inside; the silence behind it is in the last packets, but not played.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        // At least one packet is missing unless this was done before, since libopus is never level.
        let packets = self.packets_of(self.samples);
        while self.packets < packets {
            self.frame.resize(FRAME_SAMPLES, 0);
            self.packet(self.packets + 1 == packets, out);
        }
    }

    /// Packets of a whole stream of `samples`: all of them, and what libopus is late.
    fn packets_of(&self, samples: u64) -> u64 {
        let late = samples + self.lookahead as u64;
        if samples == 0 { 0 } else { late.div_ceil(FRAME_SAMPLES as u64) }
    }

    fn packet(&mut self, last: bool, out: &mut Vec<u8>) {
        if self.packets == 0 {
            self.header();
        }
        let packet = self.encode_frame();
        self.packets += 1;
        self.on_page += 1;
        let page_full = self.packets == 1 || self.on_page == PAGE_PACKETS;
        let (end, samples) = match (last, page_full) {
            (true, _) => (PacketWriteEndInfo::EndStream, self.samples + self.lookahead as u64),
            (_, true) => (PacketWriteEndInfo::EndPage, self.packets * FRAME_SAMPLES as u64),
            (_, false) => (PacketWriteEndInfo::NormalPacket, self.packets * FRAME_SAMPLES as u64),
        };
        self.pages
            .write_packet(packet, SERIAL, end, samples * POSITIONS_PER_SAMPLE)
            .expect(VEC_TAKES_ALL);
        if last || page_full {
            self.on_page = 0;
        }
        out.append(self.pages.inner_mut());
    }

    fn encode_frame(&mut self) -> Vec<u8> {
        let mut packet = vec![0; PACKET_BYTES];
        // SAFETY: the state was made by `opus_encoder_init`, is as large as it asked for and borrowed
        // by nobody else; the frame is 20 ms long, and the packet as long as is said.
        let written = unsafe {
            opus_encode(
                self.state.as_mut_ptr().cast::<OpusEncoder>(),
                self.frame.as_ptr(),
                FRAME_SAMPLES as i32,
                packet.as_mut_ptr(),
                PACKET_BYTES as i32,
            )
        };
        self.frame.clear();
        packet.truncate(usize::try_from(written).expect(NOTHING_TO_REFUSE));
        packet
    }

    /// OpusHead (RFC 7845, 5.1) and OpusTags (5.2).
    fn header(&mut self) {
        let pre_skip = (self.lookahead as u64 * POSITIONS_PER_SAMPLE) as u16;
        let mut head = b"OpusHead".to_vec();
        head.extend([1, 1]); // version, channels
        head.extend(pre_skip.to_le_bytes());
        head.extend(SPEECH_HZ.to_le_bytes());
        head.extend([0, 0, 0]); // gain, channel mapping
        let mut tags = b"OpusTags".to_vec();
        tags.extend((VENDOR.len() as u32).to_le_bytes());
        tags.extend(VENDOR);
        tags.extend([0; 4]);
        for packet in [head, tags] {
            self.pages
                .write_packet(packet, SERIAL, PacketWriteEndInfo::EndPage, 0)
                .expect(VEC_TAKES_ALL);
        }
    }
}

/// An encoder's state and its look-ahead in samples, or the error's code.
fn libopus() -> Result<(Box<[u64]>, usize), i32> {
    let answered = |code| if code == OPUS_OK { Ok(()) } else { Err(code) };
    // SAFETY: these calls ask for nothing but a block as large as `opus_encoder_get_size` says and
    // aligned for pointers, which it is; the settings are numbers.
    unsafe {
        let bytes = opus_encoder_get_size(1);
        let mut state = vec![0u64; (bytes as usize).div_ceil(size_of::<u64>())].into_boxed_slice();
        let encoder = state.as_mut_ptr().cast::<OpusEncoder>();
        answered(opus_encoder_init(encoder, SPEECH_HZ as i32, 1, OPUS_APPLICATION_AUDIO))?;
        for (request, value) in [
            (OPUS_SET_BITRATE_REQUEST, BITRATE),
            (OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY),
            (OPUS_SET_SIGNAL_REQUEST, OPUS_SIGNAL_VOICE),
        ] {
            answered(opus_encoder_ctl_impl(encoder, request, varargs!(value)))?;
        }
        let mut lookahead = 0i32;
        let asked = varargs!(&mut lookahead);
        answered(opus_encoder_ctl_impl(encoder, OPUS_GET_LOOKAHEAD_REQUEST, asked))?;
        Ok((state, lookahead as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ogg::reading::PacketReader;
    use unsafe_libopus::{
        opus_decode, opus_decoder_create, opus_decoder_destroy, opus_packet_get_nb_samples,
    };

    use super::super::signal::{self, level_db, snr_db};
    use super::*;

    const PRE_SKIP: usize = 312;

    fn speech(samples: usize) -> Vec<i16> {
        signal::speech(samples, 0.0)
    }

    fn encoded(samples: &[i16], chunk: usize) -> Vec<u8> {
        let mut opus = Opus::new().unwrap();
        let mut out = Vec::new();
        let whole_bound = opus.most_bytes(samples.len());
        for piece in samples.chunks(chunk) {
            let (before, bound) = (out.len(), opus.most_bytes(piece.len()));
            opus.encode(piece, &mut out);
            assert!(out.len() - before <= bound);
        }
        let (before, bound) = (out.len(), opus.most_bytes(0));
        opus.finish(&mut out);
        assert!(out.len() - before <= bound);
        assert!(out.len() <= whole_bound);
        assert_eq!(opus.most_bytes(0), 0);
        let whole = out.len();
        opus.finish(&mut out);
        assert_eq!(out.len(), whole, "a second end adds nothing");
        out
    }

    /// A page: flags, position, serial, number, lacing values.
    type Page = (u8, u64, u32, u32, Vec<u8>);

    fn pages(mut ogg: &[u8]) -> Vec<Page> {
        let mut pages = Vec::new();
        while !ogg.is_empty() {
            assert_eq!(&ogg[..5], b"OggS\0");
            let number = |at: usize| u32::from_le_bytes(ogg[at..at + 4].try_into().unwrap());
            let position = u64::from_le_bytes(ogg[6..14].try_into().unwrap());
            let lacing = ogg[27..27 + ogg[26] as usize].to_vec();
            let body: usize = lacing.iter().map(|bytes| usize::from(*bytes)).sum();
            pages.push((ogg[5], position, number(14), number(18), lacing));
            ogg = &ogg[27 + usize::from(ogg[26]) + body..];
        }
        pages
    }

    /// As RFC 7845 4 wants it: the pre-skip is left out, and what lies behind the last position.
    fn decoded(ogg: &[u8]) -> Vec<i16> {
        let mut reader = PacketReader::new(Cursor::new(ogg));
        let head = reader.read_packet().unwrap().unwrap().data;
        assert_eq!(&head[..8], b"OpusHead");
        assert_eq!(usize::from(u16::from_le_bytes([head[10], head[11]])), PRE_SKIP);
        assert_eq!(&reader.read_packet().unwrap().unwrap().data[..8], b"OpusTags");
        let mut heard = Vec::new();
        let mut end = 0;
        unsafe {
            let mut code = 0;
            let decoder = opus_decoder_create(SPEECH_HZ as i32, 1, &mut code);
            assert_eq!(code, OPUS_OK);
            while let Ok(Some(packet)) = reader.read_packet() {
                let mut frame = [0i16; 480];
                let bytes = packet.data.len() as i32;
                let read = opus_decode(
                    &mut *decoder,
                    packet.data.as_ptr(),
                    bytes,
                    frame.as_mut_ptr(),
                    480,
                    0,
                );
                assert_eq!(read, 480);
                heard.extend(frame);
                end = packet.absgp_page();
            }
            opus_decoder_destroy(decoder);
        }
        heard.truncate((end / 2) as usize);
        heard.drain(..heard.len().min(PRE_SKIP / 2));
        heard
    }

    #[test]
    fn as_many_samples_come_out_as_went_in() {
        for length in [1, 323, 324, 325, 479, 480, 481, 803, 804, 805, 24_000, 50_001] {
            let speech = speech(length);
            let heard = decoded(&encoded(&speech, 700));
            assert_eq!(heard.len(), length);
            if length > 10_000 {
                assert!((level_db(&speech) - level_db(&heard)).abs() < 0.5);
                let snr = snr_db(&speech, &heard);
                assert!(snr > 10.0, "{length}: {snr} dB");
            }
        }
    }

    #[test]
    fn pages_are_what_the_container_wants() {
        let ogg = encoded(&speech(24_000), 480);
        let pages = pages(&ogg);
        let flags: Vec<u8> = pages.iter().map(|page| page.0).collect();
        assert_eq!(flags[0], 2, "the first page begins the stream");
        assert_eq!(*flags.last().unwrap(), 4, "the last one ends it");
        assert!(flags[1..flags.len() - 1].iter().all(|flag| *flag == 0));
        assert!(pages.iter().enumerate().all(|(n, page)| page.2 == SERIAL && page.3 == n as u32));
        let packets: Vec<usize> = pages.iter().map(|page| page.4.len()).collect();
        // 50 packets of speech, and one more for what libopus is late.
        assert_eq!(packets, [1, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]);
        let positions: Vec<u64> = pages.iter().map(|page| page.1).collect();
        assert_eq!(positions[..4], [0, 0, 960, 6 * 960]);
        assert_eq!(positions[12], 48_000 + PRE_SKIP as u64);
        let head = &ogg[28..47];
        assert_eq!(head, b"OpusHead\x01\x01\x38\x01\xc0\x5d\0\0\0\0\0");
    }

    #[test]
    fn packets_are_20_ms() {
        let ogg = encoded(&speech(5_000), 480);
        let mut reader = PacketReader::new(Cursor::new(ogg));
        let mut packets = 0;
        while let Some(packet) = reader.read_packet().unwrap() {
            if packets >= 2 {
                let bytes = packet.data.len() as i32;
                let samples =
                    unsafe { opus_packet_get_nb_samples(packet.data.as_ptr(), bytes, 48_000) };
                assert_eq!(samples, 960);
            }
            packets += 1;
        }
        assert_eq!(packets, 2 + (5_000usize + 156).div_ceil(480));
    }

    #[test]
    fn cuts_leave_no_trace() {
        let speech = speech(12_000);
        let whole = encoded(&speech, 12_000);
        for chunk in [1, 7, 479, 480, 481, 2048] {
            assert!(encoded(&speech, chunk) == whole, "in chunks of {chunk}");
        }
        assert_eq!(encoded(&[], 1), b"", "nothing said, nothing sent");
    }

    #[test]
    fn what_arrived_before_a_cut_is_heard() {
        let speech = speech(24_000);
        let ogg = encoded(&speech, 480);
        for cut in [HEADER_BYTES, 700, ogg.len() / 2, ogg.len() - 1] {
            let heard = decoded(&ogg[..cut]);
            let whole: usize = pages_within(&ogg, cut);
            assert_eq!(heard.len(), (whole * 480).saturating_sub(PRE_SKIP / 2), "cut at {cut}");
        }
    }

    /// Packets of audio on the pages that end before `cut`.
    fn pages_within(ogg: &[u8], cut: usize) -> usize {
        let mut at = 0;
        let mut packets = 0;
        for page in pages(ogg) {
            at += 27 + page.4.len() + page.4.iter().map(|n| usize::from(*n)).sum::<usize>();
            packets += if at <= cut { page.4.len() } else { 0 };
        }
        packets - 2
    }

    #[test]
    fn the_first_packet_leaves_at_once() {
        let mut opus = Opus::new().unwrap();
        let mut out = Vec::new();
        opus.encode(&speech(479), &mut out);
        assert!(out.is_empty());
        opus.encode(&[0], &mut out);
        assert_eq!(pages(&out).len(), 3, "after 20 ms of audio");
    }

    #[test]
    fn silence_noise_and_full_scale() {
        let silence = decoded(&encoded(&[0; 24_000], 480));
        assert!(silence.iter().all(|sample| sample.unsigned_abs() <= 2));
        let full = |at: usize| (at as f64 * 0.05).sin() * f64::from(i16::MAX);
        let tone: Vec<i16> = (0..24_000).map(|at| full(at) as i16).collect();
        let louder = level_db(&decoded(&encoded(&tone, 480))) - level_db(&tone);
        assert!(louder.abs() < 0.5, "{louder} dB");
        let square: Vec<i16> =
            (0..24_000).map(|at| if at / 60 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let snr = snr_db(&square, &decoded(&encoded(&square, 480)));
        assert!(snr > 3.0, "{snr} dB: nothing wraps");
        let mut state = 1u32;
        let noise: Vec<i16> = (0..24_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16
            })
            .collect();
        assert_eq!(decoded(&encoded(&noise, 480)).len(), 24_000);
    }

    #[test]
    fn an_encoder_may_change_threads() {
        fn sent<T: Send>() {}
        sent::<Opus>();
    }
}
