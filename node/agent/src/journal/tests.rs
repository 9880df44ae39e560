use super::*;
use crate::attachment::Step;
use crate::testing::{attachment, tenant_record};
use tempfile::TempDir;

fn reopen(folder: &TempDir) -> (Journal, Contents) {
    Journal::open(&folder.path().join("agent.redb")).unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_what_was_removed_is_not() {
    let folder = TempDir::new().unwrap();
    let (journal, empty) = reopen(&folder);
    assert_eq!(empty, Contents { next_number: 1, ..Contents::default() });
    let planned = attachment("a", 7, Step::Planned);
    let attached = attachment("a", 7, Step::Attached);
    let other = attachment("b", 3, Step::Attached);
    journal.write(vec![Entry::Attachment(planned.into()), Entry::Node(NodeId(4))]).await.unwrap();
    journal
        .write(vec![
            Entry::Attachment(attached.clone().into()),
            Entry::Attachment(other.into()),
            Entry::Record(tenant_record(2, "two").into()),
            Entry::Record(tenant_record(1, "one").into()),
            Entry::Generation(Generation(9)),
        ])
        .await
        .unwrap();
    journal.write(vec![Entry::Forget("b".into()), Entry::Remove(tenant_record(2, "").key())]).await.unwrap();
    drop(journal);
    let (_journal, contents) = reopen(&folder);
    assert_eq!(
        contents,
        Contents {
            generation: Generation(9),
            node: Some(NodeId(4)),
            records: vec![tenant_record(1, "one")],
            attachments: vec![attached],
            next_number: 8,
        }
    );
}

#[tokio::test]
async fn a_journal_that_is_closed_refuses_and_says_so() {
    let folder = TempDir::new().unwrap();
    let (journal, _) = reopen(&folder);
    journal.close();
    assert!(matches!(journal.write(Vec::new()).await, Err(JournalError::Closed { .. })));
}

#[test]
fn a_newer_schema_is_refused_with_the_remedy_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("agent.redb");
    drop(Journal::open(&path).unwrap());
    file::pretend_schema(&path, 2);
    for _ in 0..2 {
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Newer { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("run the program that wrote it"));
    }
}

#[test]
fn a_journal_has_one_agent() {
    let folder = TempDir::new().unwrap();
    let held = reopen(&folder);
    let error = Journal::open(&folder.path().join("agent.redb")).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(held);
    reopen(&folder);
}

#[tokio::test]
async fn many_writers_at_once_are_all_answered_and_all_kept() {
    let folder = TempDir::new().unwrap();
    let (journal, _) = reopen(&folder);
    let journal = Arc::new(journal);
    let writers: Vec<_> = (1..=200)
        .map(|number| {
            let journal = Arc::clone(&journal);
            let entry = Entry::Attachment(attachment(&format!("u{number}"), number, Step::Planned).into());
            tokio::spawn(async move { journal.write(vec![entry]).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    drop(journal);
    assert_eq!(reopen(&folder).1.attachments.len(), 200);
}
