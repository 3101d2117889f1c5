"""An attack that trains with its copy of the defense."""

import torch

from splitsec import Attack, Parameters, ThreatModel


class Copier(Attack[Parameters]):
    """Release smashed data by its own copy."""

    @classmethod
    def threat_model(cls, parameters):
        """Declare a copy of the defense, and queries."""
        return ThreatModel(public_images=True, defense=True, queries=True)

    def fit(self, progress):
        """Use the copy."""
        images = self.view.public_images
        smashed = torch.rand(len(images), *self.view.smashed_shape)
        self.released = self.view.defense.release(images, smashed)
        self.due = 2 * smashed

    def reconstruct(self, smashed):
        """Guess, if the copy is the clients'."""
        assert torch.equal(self.released, self.due)
        return torch.zeros(len(smashed), *self.view.image_shape)
