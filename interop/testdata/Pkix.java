import java.io.FileInputStream;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** Validates a chain (PEM, the root left out) under a root with OCSP and no fallback, and prints what came of it. */
class Pkix {
    public static void main(String[] args) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        X509Certificate root;
        CertPath path;
        try (FileInputStream in = new FileInputStream(args[0])) {
            root = (X509Certificate) factory.generateCertificate(in);
        }
        try (FileInputStream in = new FileInputStream(args[1])) {
            path = factory.generateCertPath(List.copyOf(factory.generateCertificates(in)));
        }
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK, PKIXRevocationChecker.Option.ONLY_END_ENTITY));
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(path, parameters);
            System.out.println("good");
        } catch (CertPathValidatorException e) {
            if (e.getCause() instanceof CertificateRevokedException revoked) {
                System.out.println("revoked " + revoked.getRevocationReason());
            } else {
                System.out.println(e.getReason() + " " + e.getMessage());
            }
        }
    }
}
