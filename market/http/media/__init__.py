"""Images, speech, transcriptions; jobs for videos and music; what sellers made."""
