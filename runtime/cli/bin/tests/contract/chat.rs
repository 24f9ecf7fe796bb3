//! `smidgen run --chat`.

use crate::files::{endless, instruct};
use crate::{Scratch, fails, quiet, stdout, with_stdin};

/// A conversation with these lines, in answers of at most 6 tokens.
fn talk(model: &str, more: &[&str], lines: &str) -> String {
    let words = [&["run", model, "--chat", "--temp", "0", "-n", "6"], more].concat();
    quiet(&words, with_stdin(&words, lines.as_bytes()))
}

#[test]
fn each_line_is_a_turn_of_one_conversation() {
    let (_dir, model) = Scratch::with(&instruct());
    let answer = |text: &str| stdout(&["run", &model, "--raw", "--temp", "0", "-n", "6", "-p", text]);
    let first = answer("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(talk(&model, &[], "hello\n"), format!("{first}\n"));
    assert_eq!(talk(&model, &["-p", "hello"], ""), format!("{first}\n"));
    assert_eq!(talk(&model, &[], "hello"), format!("{first}\n"), "a last line without an end");
    let both = talk(&model, &[], "hello\nuser\n");
    let second = both.strip_prefix(&format!("{first}\n")).unwrap();
    assert_ne!(second, format!("{first}\n"));
    assert_eq!(talk(&model, &["-p", "hello"], "user\n"), both);
    // With another number of threads and another table, the cache holds the same bits.
    assert_eq!(talk(&model, &["--threads", "2", "--target", "scalar"], "hello\nuser\n"), both);
    assert_ne!(talk(&model, &["--system", "us er"], "hello\n"), format!("{first}\n"));
}

#[test]
fn what_is_cached_does_not_change_the_answer() {
    let (_dir, model) = Scratch::with(&instruct());
    let both = talk(&model, &[], "hello\nuser\n");
    let first = talk(&model, &[], "hello\n");
    let second = both.strip_prefix(&first).unwrap().strip_suffix('\n').unwrap();
    let said = first.trim();
    let whole = format!(
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n<|im_start|>user\nuser<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    assert_eq!(stdout(&["run", &model, "--raw", "--temp", "0", "-n", "6", "-p", &whole]), second);
}

#[test]
fn clear_and_exit() {
    let (_dir, model) = Scratch::with(&instruct());
    let hello = talk(&model, &[], "hello\n");
    assert_eq!(talk(&model, &[], "hello\n/clear\nhello\n"), format!("{hello}{hello}"));
    assert_eq!(talk(&model, &[], "user\n/clear\nhello\n"), format!("{}{hello}", talk(&model, &[], "user\n")));
    assert_eq!(talk(&model, &[], "hello\n\n  \n/exit\nhello\n"), hello);
    assert_eq!(talk(&model, &[], "/exit\nhello\n"), "");
    assert_eq!(talk(&model, &[], ""), "");
}

#[test]
fn beams_talk_too() {
    let (_dir, model) = Scratch::with(&instruct());
    let hello = talk(&model, &["--beams", "3"], "hello\n");
    assert_eq!(talk(&model, &["--beams", "3"], "hello\n/clear\nhello\n"), format!("{hello}{hello}"));
}

#[test]
fn what_cannot_be_a_chat() {
    let (_dir, model) = Scratch::with(&endless());
    fails(&["run", &model, "--chat"], &["--chat", &model, "no chat template"]);
    fails(&["run", &model, "--system", "hello", "-p", "hello"], &["--system", &model, "no chat template"]);
    for other in ["--raw", "--ids", "-"] {
        fails(&["run", &model, "--chat", other], &["--chat"]);
    }
    let (_dir, model) = Scratch::with(&instruct());
    let words = ["run", &model, "--chat"];
    crate::refused(&words, &with_stdin(&words, b"hello\xff\n"), &["stdin", "UTF-8"]);
    let words = ["run", &model, "--chat", "--ctx", "16"];
    crate::refused(&words, &with_stdin(&words, b"hello and a lot more\n"), &["context", "--ctx"]);
}
