"""What convolution filters look like and what they answer to."""
