"""`latelabel demo`: real flights judged as their labels land, every figure checked at the end.

The demo plays both sides of the monitor: the model server and the label source that publish, and the
operator who reads the reports. Nothing here is used by the service.
"""
