"""What an evaluation says of a recogniser: statistics that add up, the table of errors, figures and the page."""
