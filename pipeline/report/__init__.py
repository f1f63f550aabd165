"""The report: loaded results in, one page, pictures and words out; no file is read or written here."""
