"""The program of a rented machine: fetch the job, train, save, and send the model to the bucket.

It leaves with 0 when the job has ended and the manifest says so, 1 when the manifest says that it
has failed, 2 for wrong arguments, 3 when the machine is taken away (another attempt goes on from
the last save), 4 when a newer attempt has begun, 5 when nobody said that training may begin.
"""
