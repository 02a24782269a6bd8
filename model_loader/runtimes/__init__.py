"""What runs networks in torch's place: exported, built for this machine, kept on the disk, and left for torch again where it fails."""
