"""Images, speech, transcripts, video and music."""
