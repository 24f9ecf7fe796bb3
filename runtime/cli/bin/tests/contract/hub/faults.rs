//! What goes wrong while files come.

use super::{World, padded, tiny};
use smidgen_tests::Random;
use smidgen_tests::hub::{Fault, http_date, sha256};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The bytes of a file of 6 MB.
fn large() -> &'static [u8] {
    static LARGE: OnceLock<Vec<u8>> = OnceLock::new();
    LARGE.get_or_init(|| padded(4, 1))
}

/// A hub with a file of 6 MB.
fn serving() -> World {
    World::serving("m-Q4_0.gguf", large())
}

/// A pull succeeds though a fault befalls the CDN, after so many requests and so many times. Gives the world, to be looked at.
fn survives(fault: Fault, after: usize, times: usize) -> World {
    let world = serving();
    let ordered = world.hub.fault(fault).on("/cdn/").after(after).times(times);
    world.gives("hf:user/repo", large());
    assert_eq!(ordered.left(), 0, "the fault did not come");
    world
}

/// A pull succeeds though a fault befalls every answer of the CDN.
fn lives_with(fault: Fault) -> World {
    let world = serving();
    world.hub.fault(fault).on("/cdn/");
    world.gives("hf:user/repo", large());
    world
}

/// A pull fails with these words because of a fault.
fn fails(fault: Fault, named: &[&str]) -> World {
    let world = serving();
    world.hub.fault(fault).on("/cdn/");
    world.fails(&["pull", "hf:user/repo"], named);
    world
}

/// Bytes that were sent more than once.
fn again(world: &World) -> u64 {
    world.hub.overlap().values().sum()
}

#[test]
fn a_cut_connection_is_taken_up() {
    let world = survives(Fault::Cut(200_000), 1, 2);
    assert!(again(&world) < 2 << 10, "{}", again(&world));
}

#[test]
fn connections_that_are_cut_at_any_byte_are_taken_up() {
    let world = serving();
    let mut random = Random(7);
    for (number, cut) in [0, 1, 2, 65_535, 65_536, 65_537, 262_143, 262_145].into_iter().enumerate() {
        world.hub.fault(Fault::Cut(cut)).on("/cdn/").after(2 * number).times(1);
        world.hub.fault(Fault::Cut(random.below(1 << 20) as u64)).on("/cdn/").after(2 * number + 1).times(1);
    }
    world.gives("hf:user/repo", large());
    assert!(again(&world) < 32, "{}", again(&world));
}

#[test]
fn a_reset_connection_is_taken_up() {
    let world = survives(Fault::Reset(300_000), 1, 2);
    assert!(again(&world) < 1 << 20, "{}", again(&world));
}

#[test]
fn a_head_that_is_cut_is_asked_for_again() {
    survives(Fault::CutHead(17), 0, 1);
}

#[test]
fn a_connection_that_ends_unannounced_is_opened_again() {
    survives(Fault::HangUp, 0, 6);
}

#[test]
fn slow_bytes_are_waited_for() {
    survives(Fault::Slow { piece: 4096, milliseconds: 1 }, 1, 1);
    survives(Fault::StallHead(300), 1, 1);
    survives(Fault::Stall { after: 100_000, milliseconds: 300 }, 1, 1);
}

#[test]
fn a_server_without_lengths_is_read_to_its_end() {
    lives_with(Fault::Chunked);
    lives_with(Fault::NoLength);
}

#[test]
fn a_wrong_length_is_no_whole_file() {
    // One that is too long ends as one that was cut, and goes on; one that is too short leaves bytes that nobody asked for.
    survives(Fault::WrongLength(10), 1, 1);
    survives(Fault::WrongLength(-10), 1, 1);
}

#[test]
fn a_wrong_size_in_the_listing_is_refused() {
    for difference in [-1, 1] {
        let world = World::new();
        let listed = large().len() as i64 + difference;
        world.hub.repository("user/repo").file("m-Q4_0.gguf", large()).lfs().listed_size(listed as u64);
        let (found, listed) = (large().len().to_string(), listed.to_string());
        world.fails(&["pull", "hf:user/repo"], &["m-Q4_0.gguf", &found, &listed, "try again later"]);
        assert!(world.hub.sent("/cdn/") < 16, "{}", world.hub.sent("/cdn/"));
    }
}

#[test]
fn a_wrong_digest_throws_the_file_away() {
    let world = World::new();
    let other = sha256(b"other");
    world.hub.repository("user/repo").file("m-Q4_0.gguf", large()).lfs().listed_sha256(&other);
    let own = sha256(large());
    world.fails(&["pull", "hf:user/repo"], &["m-Q4_0.gguf", &other, &own, "thrown away", "pull it again"]);
    assert_eq!(world.left(), Vec::<String>::new());
}

#[test]
fn an_empty_file_that_was_to_have_bytes_is_refused() {
    let world = World::new();
    world.hub.repository("user/repo").file("m-Q4_0.gguf", "").lfs().listed_size(352);
    world.fails(&["pull", "hf:user/repo"], &["m-Q4_0.gguf", "has 0 bytes of it, but 352 were announced"]);
}

#[test]
fn a_flipped_bit_throws_the_file_away() {
    let world = serving();
    let fault = world.hub.fault(Fault::Flip(3 << 20)).on("/cdn/");
    world.fails(&["pull", "hf:user/repo"], &["m-Q4_0.gguf", &sha256(large()), "thrown away"]);
    assert_eq!(world.left(), Vec::<String>::new());
    fault.end();
    world.gives("hf:user/repo", large());
}

#[test]
fn a_flipped_bit_in_what_an_earlier_pull_left_is_fetched_anew() {
    let world = serving();
    world.hub.fault(Fault::Flip(1 << 20)).on("/cdn/");
    let refusal = world.hub.fault(Fault::Status(403)).on("/cdn/").after(4);
    world.fails(&["pull", "hf:user/repo"], &["/cdn/user/repo/m-Q4_0.gguf", "403"]);
    refusal.end();
    assert!(!world.left().is_empty());
    world.hub.mend();
    world.gives("hf:user/repo", large());
}

#[test]
fn a_blob_with_a_wrong_digest_is_thrown_away() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", large());
    world.hub.fault(Fault::Flip(4 << 20)).on("/cdn/");
    world.fails(&["pull", "ollama:tiny"], &["ollama:tiny:latest", &sha256(large()), "thrown away"]);
    world.hub.image("library/small:latest").layer("model", tiny(1)).layer("system", "Be brief.");
    world.hub.fault(Fault::Flip(3)).on("/v2/library/small/blobs");
    world.fails(&["pull", "ollama:small"], &["/v2/library/small/blobs/", "thrown away"]);
    assert_eq!(world.left(), Vec::<String>::new());
}

#[test]
fn a_plain_file_that_is_no_model_is_refused() {
    let world = World::new();
    world.hub.file("/m.gguf", vec![b'x'; 100_000]);
    world.hub.file("/empty.gguf", "");
    world.hub.file("/short.gguf", &large()[..3 << 20]);
    world.fails(&["pull", &world.address("/m.gguf")], &["/m.gguf", "not a usable GGUF file"]);
    world.fails(&["pull", &world.address("/empty.gguf")], &["/empty.gguf", "the file is empty"]);
    world.fails(&["pull", &world.address("/short.gguf")], &["/short.gguf", "not a usable GGUF file"]);
}

#[test]
fn ranges_that_are_ignored_are_done_without() {
    let world = lives_with(Fault::NoRanges);
    let gets = world.hub.requests().iter().filter(|request| request.path.contains("/cdn/")).count();
    assert!(gets <= 2, "{gets}");
}

#[test]
fn ranges_that_are_ignored_from_some_request_on_are_done_without() {
    let world = serving();
    world.hub.fault(Fault::NoRanges).on("/cdn/").after(3);
    world.gives("hf:user/repo", large());
}

#[test]
fn a_cut_connection_without_ranges_begins_anew() {
    let world = serving();
    world.hub.fault(Fault::NoRanges).on("/cdn/");
    let cut = world.hub.fault(Fault::Cut(1 << 20)).on("/cdn/").after(1).times(1);
    world.gives("hf:user/repo", large());
    assert_eq!(cut.left(), 0);
}

#[test]
fn other_bytes_than_were_asked_for_are_refused() {
    let length = large().len();
    for range in [format!("bytes 5-9/{length}"), "bytes */5".into(), "bits 1-2/3".into(), "bytes 9-1/2".into()] {
        let world = serving();
        world.hub.fault(Fault::WrongRange(range)).on("/cdn/").after(1);
        world.fails(&["pull", "hf:user/repo"], &["/cdn/user/repo/m-Q4_0.gguf", "other bytes than it was asked for"]);
    }
}

#[test]
fn a_range_of_a_file_of_another_length_is_a_changed_file() {
    let world = serving();
    let wrong = Fault::WrongRange(format!("bytes 0-262143/{}", large().len() + 1));
    let fault = world.hub.fault(wrong).on("/cdn/").after(1).times(1);
    world.gives("hf:user/repo", large());
    assert_eq!(fault.left(), 0);
}

#[test]
fn compressed_bytes_are_refused() {
    fails(Fault::Gzip, &["/cdn/user/repo/m-Q4_0.gguf", "gzip", "try another network or proxy"]);
    let world = serving();
    world.hub.fault(Fault::Gzip).on("/api/models");
    world.fails(&["pull", "hf:user/repo"], &["/api/models/user/repo", "gzip"]);
    let world = serving();
    world.hub.fault(Fault::Gzip).on("/cdn/").after(2);
    world.fails(&["pull", "hf:user/repo"], &["/cdn/user/repo/m-Q4_0.gguf", "gzip"]);
}

#[test]
fn a_page_in_place_of_a_file_is_refused() {
    fails(Fault::Html, &["/cdn/user/repo/m-Q4_0.gguf", "this is a page (HTML), not the file"]);
    let world = serving();
    world.hub.fault(Fault::Html).on("/cdn/").after(2);
    world.fails(&["pull", "hf:user/repo"], &["/cdn/user/repo/m-Q4_0.gguf", "this is a page (HTML), not the file"]);
    let world = World::new();
    world.hub.fault(Fault::Html).on("/m.gguf");
    world.fails(&["pull", &world.address("/m.gguf")], &["/m.gguf", "this is a page (HTML), not the file"]);
}

#[test]
fn a_failing_server_is_asked_again() {
    let world = serving();
    // One after another, over the connections.
    let order = |(number, status)| world.hub.fault(Fault::Status(status)).on("/cdn/").after(1 + number).times(1);
    let faults: Vec<_> = [500, 502, 503, 504, 408, 429].into_iter().enumerate().map(order).collect();
    world.gives("hf:user/repo", large());
    assert!(faults.iter().all(|fault| fault.left() == 0));
}

#[test]
fn a_failing_hub_is_asked_again() {
    let world = serving();
    let faults = [
        world.hub.fault(Fault::Status(500)).on("/api/").times(1),
        world.hub.fault(Fault::Cut(9)).on("/tree/").times(1),
        world.hub.fault(Fault::CutHead(9)).on("/resolve/").times(1),
    ];
    world.gives("hf:user/repo", large());
    assert!(faults.iter().all(|fault| fault.left() == 0));
}

#[test]
fn a_server_that_keeps_failing_is_told() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", tiny(1));
    world.hub.fault(Fault::Status(501)).on("/v2/");
    world.fails(&["pull", "ollama:tiny"], &["/v2/library/tiny/manifests/latest", "the server fails (501)"]);
    world.hub.fault(Fault::Status(418)).on("/api/");
    world.fails(&["pull", "hf:user/repo"], &["/api/models/user/repo", "418"]);
}

#[test]
fn the_wait_that_a_server_asks_for_is_kept() {
    let begun = Instant::now();
    survives(Fault::RetryAfter(429, "1".into()), 1, 1);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // A date, on the hub itself.
    let world = serving();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let fault = world.hub.fault(Fault::RetryAfter(503, http_date(now + 2))).on("/api/").times(1);
    let begun = Instant::now();
    world.gives("hf:user/repo", large());
    assert!(begun.elapsed() >= Duration::from_secs(1) && fault.left() == 0, "{:?}", begun.elapsed());
}

#[test]
fn a_wait_that_is_too_long_is_told() {
    let begun = Instant::now();
    fails(Fault::RetryAfter(429, "3600".into()), &["/cdn/user/repo/m-Q4_0.gguf", "too many requests", "in 3600 s"]);
    let world = serving();
    world.hub.fault(Fault::RetryAfter(429, u64::MAX.to_string())).on("/api/");
    world.fails(&["pull", "hf:user/repo"], &["/api/models/user/repo", "too many requests"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_signed_address_that_expires_is_asked_for_again() {
    let world = serving();
    world.hub.signature_uses(2);
    world.gives("hf:user/repo", large());
    assert!(world.hub.sent("Signature=1") < large().len() as u64);
}

#[test]
fn long_heads_are_refused() {
    fails(Fault::LongHeader(4 << 20), &["/cdn/user/repo/m-Q4_0.gguf"]);
    let world = serving();
    world.hub.fault(Fault::ManyHeaders(50_000)).on("/api/");
    world.fails(&["pull", "hf:user/repo"], &["/api/models/user/repo"]);
}

#[test]
fn many_connections_are_opened_and_no_more_than_four() {
    let world = serving();
    world.hub.throttle(16_384, 2);
    world.gives("hf:user/repo", large());
    let ranges: Vec<_> = world.hub.requests().into_iter().filter_map(|request| request.range).collect();
    assert!(ranges.len() > 4, "{ranges:?}");
    // One for the hub, four for the CDN.
    assert!((4..=6).contains(&world.hub.connections()), "{}", world.hub.connections());
    assert!(again(&world) <= 2, "{}", again(&world));
}
