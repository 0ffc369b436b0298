"""Files are read in processes of their own, so that a hostile one cannot take the run, or the machine, with it.

process   the ingest's end: starts a reading process, watches its time and memory, says what became of it
pool      processes that wait for the next file
worker    the process itself
confine   what a reading process may not do
tree      the processes that a process has started, and what memory they take
wire      the messages between the two ends
"""
